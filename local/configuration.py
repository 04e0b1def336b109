"""Writes supervisord's configuration file: the programs, their accounts, their stop signals, their
logs.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Name of the supervisord group with all services. It is started after the servers, and stopped
#: before them.
SERVICES = "services"

CONFIGURATION = """\
[supervisord]
nodaemon=true
silent=true
logfile={logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={folder}/supervisord.pid
{user}
[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

#: Template for a program's section. supervisord retries a failed start after 1, 2, 3 … s. With 30
#: retries, a program survives seven minutes without a server that it needs.
PROGRAM = """
[program:{name}]
command={command}
directory={directory}
environment={environment}
{user}priority={priority}
autostart={autostart}
autorestart=true
startretries=30
stopsignal={stop_signal}
stopwaitsecs={stop_within_s}
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""

GROUP = f"""
[group:{SERVICES}]
programs={{programs}}
priority=999
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that supervisord starts, and restarts when it ends."""

    name: str
    command: Sequence[str]
    directory: Path
    #: Environment variables of this program, in addition to those that all programs get.
    environment: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    stop_signal: str = "TERM"
    #: Seconds after which the process is killed if it has not obeyed the stop signal.
    stop_within_s: int


def text(
    folder: Path,
    logs: Path,
    socket: Path,
    *,
    servers: Sequence[Program],
    services: Sequence[Program],
    as_root: bool,
) -> str:
    """The text of supervisord's configuration file. It starts the servers at once, and the services
    on request.
    """
    user = "user=root\n" if as_root else ""
    head = CONFIGURATION.format(folder=_escape(folder), logs=_escape(logs), socket=_escape(socket), user=user)
    starts = [_section(one, logs, priority=place, autostart=True) for place, one in enumerate(servers)]
    # supervisord stops groups one after another, those with the highest priority first. The members
    # of a group stop together.
    later = [_section(one, logs, priority=999, autostart=False) for one in services]
    return "".join([head, *starts, *later, GROUP.format(programs=",".join(one.name for one in services))])


def _section(program: Program, logs: Path, *, priority: int, autostart: bool) -> str:
    return PROGRAM.format(
        name=program.name,
        command=_escape(shlex.join(program.command)),
        directory=_escape(program.directory),
        environment=",".join(f'{name}="{_escape(value)}"' for name, value in program.environment.items()),
        user=f"user={program.account}\n" if program.account else "",
        priority=priority,
        autostart=str(autostart).lower(),
        stop_signal=program.stop_signal,
        stop_within_s=program.stop_within_s,
        logs=_escape(_escape(logs)),  # escaped twice, because supervisord expands this value twice
    )


def _escape(value: object) -> str:
    return str(value).replace("%", "%%")
