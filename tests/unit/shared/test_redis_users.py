"""Tests that each Redis user may run every command in the Lua scripts of its service."""

import re
from pathlib import Path

import limits
import pytest

from shared.roles import API, SCHEDULER, WORKER

SHARED = Path(__file__).parents[3] / "shared"
#: The Lua scripts that each service's Redis user runs. Each of them includes `preamble.lua`.
SCRIPTS = {
    API: ["preamble", "push"],
    WORKER: ["preamble", "push", "fetch", "unacked", "past"],
    SCHEDULER: ["preamble", "push", "head", "unacked"],
}


#: Further Lua scripts by user, which count requests and quotas. Some belong to a library.
COUNTERS = {
    API: [
        SHARED.parent / "services/api/identity/rate.lua",
        SHARED.parent / "services/api/quotas/take.lua",
    ],
    WORKER: sorted(
        (Path(str(limits.__file__)).parent / "resources/redis/lua_scripts").glob("*sliding_window.lua")
    ),
}


@pytest.mark.parametrize("user", COUNTERS)
def test_a_user_that_counts_may_use_the_commands_of_its_counters(user: str) -> None:
    text = "".join(file.read_text() for file in COUNTERS[user])
    used = {command.lower() for command in re.findall(r"redis\.call\('([A-Za-z]+)'", text)}
    (rule,) = re.findall(rf"^user {user} .*$", (SHARED / "redis_users.acl").read_text(), re.MULTILINE)
    assert used
    assert used - {word.removeprefix("+") for word in rule.split()} == set()


@pytest.mark.parametrize("user", SCRIPTS)
def test_a_user_may_use_the_commands_of_its_scripts(user: str) -> None:
    text = "".join((SHARED / f"transport/{name}.lua").read_text() for name in SCRIPTS[user])
    used = {command.lower() for command in re.findall(r"(?:redis\.p?call|own)\('([A-Z]+)'", text)}
    rules = (SHARED / "redis_users.acl").read_text()
    (rule,) = re.findall(rf"^user {user} .*$", rules, re.MULTILINE)
    assert used
    assert used - {word.removeprefix("+") for word in rule.split()} == set()
