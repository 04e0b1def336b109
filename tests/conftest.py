"""Pytest fixtures for all tests. One PostgreSQL and one Valkey run during the whole test session,
and each test that needs one gets a database of its own.
"""

import asyncio
import functools
import gc
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from hypothesis import settings

from local import ports, postgres
from local.account import Account
from local.leash import leashed
from local.postgres import SUPERUSER, Postgres
from local.valkey import Valkey
from shared.roles import OWNER
from tests import sandbox as sandboxes
from tests.crew import Crew, StartCrew
from tests.eventually import eventually
from tests.installed import HOTEL
from tests.migrated import migrate
from tests.platform import Platform
from tests.roles import as_role, make_roles
from tests.sandbox import Sandbox

ROOT = Path(__file__).parent.parent

# Property-based tests use the same examples in every run; `--hypothesis-profile=many` tries more
# and other examples.
settings.register_profile("bounded", derandomize=True, database=None, deadline=None, max_examples=100)
settings.register_profile("many", deadline=None, max_examples=2_000)
settings.load_profile("bounded")

# A shell lets commands that it starts in the background ignore SIGINT, and the processes that tests
# start and interrupt would inherit this.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Tests of the hotel application are not collected if that application is not installed.
collect_ignore_glob = [] if HOTEL else ["**/hotel/*"]
#: Begin of the names of the databases from which the databases of the tests are copied.
TEMPLATE = "often_template"
#: Free memory, in bytes, that must be available before a test session stores its databases in
#: memory. It is enough for ten sessions at a time.
MEMORY_BYTES = 4 * 2**30
#: Number of logical databases of the session's Valkey. Tests use them in turn, and after the last
#: one the first is used again.
REDIS_DATABASES = 256
#: Number of new objects after which Python looks for garbage, instead of 700. Building the API
#: creates 200,000 objects.
GARBAGE_THRESHOLD = 10_000


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what collecting the tests creates out of all later garbage collections. Searching the
    modules and tests of a whole run over and over took a quarter of the processor time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run long tests first, and leave out tests that need the hotel application if it is not
    installed.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if HOTEL:
        return
    deselected = [item for item in items if item.get_closest_marker("hotel")]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in set(deselected)]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="often-tests-", dir=_in_memory()) as name:
        # The system account that runs PostgreSQL must be able to enter the folder, even if root
        # runs the tests.
        Path(name).chmod(0o755)
        yield Path(name)


def _in_memory() -> str | None:
    """The path of the file system in memory if it has enough room, otherwise None. Creating a
    database there takes half the time (46 ms).
    """
    memory = "/dev/shm"
    return memory if Path(memory).is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES else None


@pytest.fixture(scope="session")
def postgres_server(folder: Path) -> Iterator[Postgres]:
    port = ports.pick("postgres")["postgres"]
    server = postgres.settle(folder / "postgres", port=port)
    server.initialise(durable=False)
    log = folder / "postgres.log"
    with _serving(server.command(durable=False), log, signal.SIGINT, server.answers, server.account):
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
    """URL of a migrated, empty database, for the role that owns it. The database is dropped after
    the test, and all connections to it are closed.
    """
    with _database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_url(postgres_server: Postgres) -> Iterator[str]:
    """URL of a migrated, empty database, for the role that owns it. All tests of the session share
    it, so they must not change it.
    """
    with _database(postgres_server) as url:
        yield url


@pytest.fixture
def empty_database(postgres_server: Postgres) -> Iterator[str]:
    """URL of a database without tables, for the role that owns it. The database is dropped after
    the test.
    """
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
    """URL of an empty logical Redis database. All logical databases of the server share the same
    pub/sub channels.
    """
    return _emptied(valkey_server.url(next(_redis_numbers)))


@pytest.fixture
async def platform(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """Starts real worker and scheduler processes for one test, and ends them after it."""
    async with Platform(database_url, redis_url, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def start_crew(
    postgres_server: Postgres,
    valkey_server: Valkey,
    _redis_numbers: Iterator[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartCrew]:
    """Starts one scheduler and one worker for all tests of a module, because starting them takes
    longer than a test.
    """
    with _database(postgres_server) as url, ExitStack() as running:

        def start(**environment: Any) -> Crew:
            redis_url = _emptied(valkey_server.url(next(_redis_numbers)))
            crew = Crew(url, redis_url, tmp_path_factory.mktemp("crew"))
            return running.enter_context(crew.running(**environment))

        yield start


@functools.cache
def _template(server: Postgres, day: date) -> str:
    """Create a migrated database on this day, and return its name. It has the partitions that the
    tests expect on the same day.
    """
    name = f"{TEMPLATE}_{day:%Y%m%d}"
    server.create_database(name)
    make_roles(server, name)
    migrate(as_role(server.url(name), OWNER))
    return name


@contextmanager
def _database(server: Postgres) -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    template = _template(server, datetime.now(UTC).date())
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy OWNER {OWNER}")
    yield as_role(server.url(name), OWNER)
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server: Postgres, statement: str) -> None:
    """Run a statement as the superuser. Creating and dropping a database takes 0.03 s of processor
    time like this, and 0.08 s with PostgreSQL's programs.
    """

    async def run() -> None:
        connection = await asyncpg.connect(server.url(SUPERUSER))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # A runner with a factory leaves the event loop of the test alone.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(run())


def _emptied(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    return redis_url


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
