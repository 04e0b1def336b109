"""One PostgreSQL and one Valkey for the whole session; a database of its own for each test that wants one."""

import asyncio
import secrets
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from local import ports, postgres
from local.account import Account
from local.leash import leashed
from local.postgres import Postgres
from local.valkey import Valkey
from shared.roles import OWNER
from tests import sandbox as sandboxes
from tests.eventually import eventually
from tests.installed import HOTEL
from tests.migrated import migrate
from tests.platform import Platform
from tests.roles import as_role, make_roles
from tests.sandbox import Sandbox

ROOT = Path(__file__).parent.parent

# The same examples in every run; `--hypothesis-profile=many` looks further.
settings.register_profile("bounded", derandomize=True, database=None, deadline=None, max_examples=100)
settings.register_profile("many", deadline=None, max_examples=2_000)
settings.load_profile("bounded")

#: The hotel application's own tests need it to be installed.
collect_ignore_glob = [] if HOTEL else ["**/hotel/*"]
TEMPLATE = "often_template"
#: Logical databases of the session's Valkey; a test gets the next one, and after the last the first again.
REDIS_DATABASES = 256


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests come first; those that need the hotel application go where it is not installed."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if HOTEL:
        return
    deselected = [item for item in items if item.get_closest_marker("hotel")]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in set(deselected)]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="often-tests-") as name:
        Path(name).chmod(0o755)  # PostgreSQL's account must get through when root runs the tests
        yield Path(name)


@pytest.fixture(scope="session")
def postgres_server(folder: Path) -> Iterator[Postgres]:
    port = ports.pick("postgres")["postgres"]
    server = postgres.settle(folder / "postgres", port=port)
    server.initialise(durable=False)
    log = folder / "postgres.log"
    with _serving(server.command(durable=False), log, signal.SIGINT, server.answers, server.account):
        server.create_database(TEMPLATE)
        make_roles(server, TEMPLATE)
        migrate(as_role(server.url(TEMPLATE), OWNER))
        yield server


@pytest.fixture(scope="session")
def valkey_server(folder: Path) -> Iterator[Valkey]:
    port = ports.pick("valkey")["valkey"]
    server = Valkey(home=folder / "valkey", port=port, password=secrets.token_hex())
    server.configure(durable=False, databases=REDIS_DATABASES)
    with _serving(server.command(), folder / "valkey.log", signal.SIGTERM, server.answers):
        yield server


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    """A migrated, empty database, as its owner; gone after the test, with whatever still hangs on it."""
    name = f"test_{secrets.token_hex(8)}"
    postgres_server.create_database(name, template=TEMPLATE, owner=OWNER)
    yield as_role(postgres_server.url(name), OWNER)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_database(postgres_server: Postgres) -> Iterator[str]:
    """A database without any table, as its owner; dropped after the test."""
    name = f"test_{secrets.token_hex(8)}"
    postgres_server.create_database(name)
    make_roles(postgres_server, name)
    yield as_role(postgres_server.url(name), OWNER)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def _redis_numbers() -> Iterator[int]:
    return (number % REDIS_DATABASES for number in count())


@pytest.fixture
def redis_url(valkey_server: Valkey, _redis_numbers: Iterator[int]) -> str:
    """An empty logical database. Channels of pub/sub are shared by all of them."""
    url = valkey_server.url(next(_redis_numbers))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
async def platform(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """Real worker and scheduler processes, as many as the test starts."""
    async with Platform(database_url, redis_url, tmp_path) as started:
        yield started


@contextmanager
def _serving(
    command: list[str],
    log: Path,
    stop_signal: signal.Signals,
    answers: Callable[[], bool],
    account: Account | None = None,
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(account.for_subprocess if account else {}),
        )
    with leashed(process.pid, stop_signal.name.removeprefix("SIG")):
        try:
            asyncio.run(eventually(lambda: answers() or process.poll() is not None))
            assert process.poll() is None, f"{command[0]} ended at once:\n{log.read_text()}"
            yield
        finally:
            process.send_signal(stop_signal)
            process.wait(timeout=30)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with sandboxes.running() as sandbox:
        yield sandbox
