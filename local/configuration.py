"""Writes supervisord's configuration: what runs, as whom, how it is stopped, where its log goes."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: The group of what is started last and stopped first.
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

#: Retries come after 1, 2, 3 … s, so 30 of them outlast seven minutes of a server's absence.
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
    """One process to keep alive."""

    name: str
    command: Sequence[str]
    directory: Path
    #: In addition to what all of them get.
    environment: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    stop_signal: str = "TERM"
    #: After this it is killed.
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
    """Servers start at once and in their order; the services wait until they are asked for."""
    user = "user=root\n" if as_root else ""
    head = CONFIGURATION.format(folder=_escape(folder), logs=_escape(logs), socket=_escape(socket), user=user)
    starts = [_section(one, logs, priority=place, autostart=True) for place, one in enumerate(servers)]
    # Groups stop one after another, the highest priority first; the members of a group stop together.
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
        logs=_escape(_escape(logs)),  # supervisor expands this one twice
    )


def _escape(value: object) -> str:
    return str(value).replace("%", "%%")
