import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy import lock
from tests.imported import imported

ROOT = Path(__file__).parents[3]
#: Packages that are locked and installed, but that no service needs: httpx uses three of them only
#: for its command line, and uvicorn one only for reloading.
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


def test_the_selection_is_what_the_roots_need_with_its_hashes() -> None:
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
        for name in imported(f"services.{service}.__main__")
        if name in providers and not {_normal(one) for one in providers[name]} & installed.keys()
    }
    assert missing - OPTIONAL == set()


@pytest.mark.parametrize("service", ["api", "worker", "scheduler"])
def test_no_service_imports_a_code_formatter(service: str) -> None:
    """Piccolo's migration tools import black, a code formatter.

    So the services read a release's migrations from files, without those tools.
    """
    assert "black" not in imported(f"services.{service}.__main__")


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
