"""The users of Redis may use every command that the scripts use which their service runs."""

import re
from pathlib import Path

import limits
import pytest

from shared.roles import API, SCHEDULER, WORKER

SHARED = Path(__file__).parents[3] / "shared"
#: Scripts by the user that runs them; `preamble.lua` is part of each.
SCRIPTS = {
    API: ["preamble", "push"],
    WORKER: ["preamble", "push", "fetch", "unacked", "past"],
    SCHEDULER: ["preamble", "push", "head", "unacked"],
}


#: Scripts that count requests and what accounts take, of this project and of a library.
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
