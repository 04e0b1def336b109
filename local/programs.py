"""Decides which programs run on this machine: the services, and Postgres and Valkey unless the
environment names other servers.
"""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from local import checks, leftovers, outside, ports, postgres, system
from local.checks import url
from local.configuration import Program
from local.errors import LaunchError
from local.mail import HOST
from local.postgres import Postgres
from local.secret_files import Secrets
from local.system import Administrator, KeptSecrets, System
from local.valkey import Valkey
from shared import settings
from shared.errors import SettingsError
from shared.roles import OWNER
from shared.roles import SERVICES as SERVICE_ROLES

#: Name under which the port of the API's metrics is stored.
API_METRICS = "api-metrics"
#: Names of all service processes except the API.
SERVICES = ("worker-1", "worker-2", "scheduler-1", "scheduler-2")
DATABASE = "often"
API_PORT = 8000
#: Seconds that a stopping worker gives its running tasks. The whole system must stop within ten
#: seconds.
GRACE_S = 4
#: Time limit of a sign-in in seconds. A slow machine may need several seconds to hash a password.
SIGN_IN_TIMEOUT_S = 60.0
#: Environment variables for the launcher only. They are not passed on, because a service warns
#: about settings that it does not know.
OWN_SETTINGS = ("OFTEN_RELOAD",)


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the local system, with its port and a check whether it is ready."""

    program: Program
    port: int
    answers: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything about the local system that is decided before the first process starts."""

    #: The server processes, such as PostgreSQL and Valkey, in the order in which they start.
    servers: list[Member]
    services: list[Member]
    #: The embedded PostgreSQL, or None if DATABASE_URL names another server.
    postgres: Postgres | None
    #: The environment that all processes share. It contains no secrets.
    environment: dict[str, str]
    #: Environment variables with secrets, in addition to `environment`: for the migration, which
    #: connects as the owner of the tables, and for the API's own commands.
    of_migration: dict[str, str]
    of_api: dict[str, str]
    #: URLs of the database and of Redis to show to the user. They contain the credentials of the
    #: database's owner and of Redis' administrator.
    database_url: str
    redis_url: str
    api: str
    metrics: list[str]
    smtp: str
    sandbox: str
    #: Names of the outside services that the sandbox simulates.
    played: list[str]

    def describe(self, administrator: Administrator) -> System:
        return System(
            api=self.api,
            metrics=self.metrics,
            postgres=self.database_url,
            redis=self.redis_url,
            smtp=self.smtp,
            mail_dir=str(system.MAIL),
            sandbox=self.sandbox,
            admin=administrator,
        )

    def lets_in(self, administrator: Administrator) -> bool:
        """Whether the running API accepts the administrator's stored password.

        It does not if the database was in use before the password was created in this checkout.
        """
        credentials = {"email": administrator.email, "password": administrator.password}
        address = f"{self.api}/api/v1/auth/login"
        answer = httpx.post(address, json=credentials, timeout=SIGN_IN_TIMEOUT_S, trust_env=False)
        return answer.status_code == httpx.codes.OK


def prepare(kept: KeptSecrets) -> Plan:
    """Decide what will run: choose ports, and create the servers' folders. Raises LaunchError if
    that fails.
    """
    names = ("postgres", "valkey", "mail", "sandbox", API_METRICS, *SERVICES)
    port = ports.pick_again(system.RUN / "ports.json", *names)
    api_port = _api_port()
    servers, database, valkey = [], None, None
    environment = _environment(kept, port["mail"], url(api_port))
    played = outside.stand_ins(environment, url(port["sandbox"]), kept.vapid_private_key)
    environment |= played.environment
    _check(environment)
    if not environment.get("DATABASE_URL"):
        database = postgres.settle(system.VAR / "postgres", port=port["postgres"])
        database.initialise()
        environment["DATABASE_URL"] = database.url(DATABASE, OWNER)
        servers.append(_postgres(database))
    if not environment.get("REDIS_URL"):
        valkey = Valkey(
            home=system.VAR / "valkey",
            port=port["valkey"],
            password=secrets.token_urlsafe(),
            passwords={user: secrets.token_urlsafe() for user in SERVICE_ROLES},
        )
        valkey.configure()
        environment["REDIS_URL"] = valkey.url()
        servers.append(_server("valkey", port["valkey"], valkey.command(), valkey.answers))
    mail = [sys.executable, "-m", "local.mail", "--port", str(port["mail"]), "--folder", str(system.MAIL)]
    servers.append(_server("mail", port["mail"], mail, partial(checks.greets, port["mail"])))
    sandbox = [sys.executable, "-m", "local.sandbox", "--port", str(port["sandbox"])]
    answers = partial(checks.serves, port["sandbox"], "/sandbox/faults")
    servers.append(_server("sandbox", port["sandbox"], sandbox, answers))
    share = _Share(Secrets(system.RUN / "secrets", environment), database, valkey)
    return Plan(
        servers=servers,
        services=[
            _api(api_port, port[API_METRICS], share.of("api")),
            *(_service(name, port[name], share.of(name)) for name in SERVICES),
        ],
        postgres=database,
        environment=share.secrets.public,
        of_migration={"DATABASE_URL": environment["DATABASE_URL"]},
        of_api=share.of("administrator", "api"),
        database_url=environment["DATABASE_URL"],
        redis_url=environment["REDIS_URL"],
        api=url(api_port),
        metrics=[f"{url(number)}/metrics" for number in (port[name] for name in (API_METRICS, *SERVICES))],
        smtp=f"{HOST}:{port['mail']}",
        sandbox=url(port["sandbox"]),
        played=played.services,
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """Gives each process its secrets: those of its service, and its own credentials for Postgres
    and Redis.
    """

    secrets: Secrets
    #: The embedded PostgreSQL; None if DATABASE_URL names another server. All processes then
    #: connect with that address.
    database: Postgres | None
    valkey: Valkey | None

    def of(self, process: str, service: str = "") -> dict[str, str]:
        """Store the secrets of one process in files. Returns the environment variables that name
        the files.

        For example, `worker-1` is a process of the service `worker`.
        """
        service = service or process.partition("-")[0]
        role = f"often_{service}"
        addresses = {}
        if self.database:
            addresses["DATABASE_URL"] = self.database.url(DATABASE, role)
        if self.valkey:
            addresses["REDIS_URL"] = self.valkey.url(user=role)
        return self.secrets.of(process, service, **addresses)


def _environment(kept: KeptSecrets, mail_port: int, api: str) -> dict[str, str]:
    """The environment variables that all processes share. Mail always goes to the mail catcher,
    even if the shell's environment names another mail server.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SMTP_") and name not in OWN_SETTINGS
    }
    return inherited | {
        leftovers.MARK: str(system.VAR),
        "SECRET_KEY": os.environ.get("SECRET_KEY") or kept.secret_key,
        "OFTEN_VAULT_KEYS": os.environ.get("OFTEN_VAULT_KEYS") or kept.vault_keys,
        "OFTEN_PUBLIC_URL": os.environ.get("OFTEN_PUBLIC_URL") or api,
        "SMTP_HOST": HOST,
        "SMTP_PORT": str(mail_port),
        "OFTEN_WORKER_GRACE": str(GRACE_S),
        # No pause before the stop: here is no load balancer that has to notice it first.
        "OFTEN_API_DRAIN": "0",
    }


def _check(environment: Mapping[str, str]) -> None:
    """Check the settings before anything starts. Raises LaunchError for one that the services would
    refuse; the error names the variable and the rule.
    """
    try:
        ignored = settings.read(environment, needs=()).ignored
    except SettingsError as error:
        raise LaunchError(str(error)) from None
    if ignored:
        print(f"{ignored[0].upper()}{ignored[1:]}", flush=True)


def _api_port() -> int:
    asked = os.environ.get("OFTEN_API_PORT")
    if asked:
        return ports.demand(ports.parse(asked, "OFTEN_API_PORT"), "OFTEN_API_PORT")
    chosen = ports.pick("api", preferred={"api": API_PORT})["api"]
    if chosen != API_PORT:
        print(f"Port {API_PORT} is taken by another program, so the API uses {chosen}.")
    return chosen


def _server(name: str, port: int, command: list[str], answers: Callable[[], bool]) -> Member:
    return Member(Program(name=name, command=command, directory=system.ROOT, stop_within_s=1), port, answers)


def _postgres(database: Postgres) -> Member:
    program = Program(
        name="postgres",
        command=database.command(),
        directory=database.home,
        account=database.account.name if database.account else None,
        stop_signal="INT",  # PostgreSQL's fast shutdown: it ends sessions without losing committed data
        stop_within_s=2,
    )
    return Member(program, database.port, database.answers)


def _service(name: str, port: int, secrets: Mapping[str, str]) -> Member:
    return _python(name, name.partition("-")[0], port, {**secrets, "OFTEN_METRICS_PORT": str(port)})


def _api(port: int, metrics_port: int, secrets: Mapping[str, str]) -> Member:
    environment = {
        **secrets,
        "OFTEN_API_HOST": HOST,
        "OFTEN_API_PORT": str(port),
        "OFTEN_METRICS_HOST": HOST,
        "OFTEN_METRICS_PORT": str(metrics_port),
    }
    return _python("api", "api", port, environment)


def _python(name: str, module: str, port: int, environment: Mapping[str, str]) -> Member:
    program = Program(
        name=name,
        command=[sys.executable, "-m", f"services.{module}"],
        directory=system.ROOT,
        environment=environment,
        stop_within_s=GRACE_S + 1,
    )
    return Member(program, port, partial(checks.is_ready, port))
