import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy import lock

ROOT = Path(__file__).parents[3]
#: httpx imports the first three for its command line, uvicorn the last one to reload. Both work without them.
OPTIONAL = {"click", "pygments", "rich", "watchfiles"}
LOCK = """\
dramatiq==2.2.1 \\
    --hash=sha256:aa
    # via often-tasks (pyproject.toml)
prometheus-client==0.26.0 \\
    --hash=sha256:bb
    # via
    #   dramatiq
    #   litestar
typing-extensions==4.16.0 \\
    --hash=sha256:cc
    # via prometheus-client
litestar[jwt]==2.25.0 \\
    --hash=sha256:dd
    # via often-tasks (pyproject.toml)
pip==26.3 \\
    --hash=sha256:ee
    # via pip-tools
"""


def test_what_is_picked_is_what_the_roots_need_with_its_hashes() -> None:
    picked = lock.select(lock.read(LOCK), ["Dramatiq>=2.2"])
    assert picked == LOCK[: LOCK.index("litestar[jwt]")]


def test_a_root_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"httpx is not in the lock: run `make lock`"):
        lock.select(lock.read(LOCK), ["litestar[jwt]", "httpx>=0.28"])


@pytest.mark.parametrize("service", ["api", "worker", "scheduler"])
def test_a_service_imports_nothing_that_its_image_does_not_install(service: str) -> None:
    roots = lock.roots((ROOT / "pyproject.toml").read_text(), ["dependencies", service])
    installed = lock.read(lock.select(lock.read((ROOT / "requirements.lock").read_text()), roots))
    providers = packages_distributions()
    missing = {
        name
        for name in _imported(f"services.{service}.__main__")
        if name in providers and not {_normal(one) for one in providers[name]} & installed.keys()
    }
    assert missing - OPTIONAL == set()


def _imported(module: str) -> set[str]:
    """The top-level packages that come with it."""
    code = f"import sys; before = {{*sys.modules}}; import {module}; print(*({{*sys.modules}} - before))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
