"""Tests of the configuration that the launcher writes for supervisord, as supervisord's own parser
reads it.
"""

import shlex
from pathlib import Path
from typing import Any

from supervisor.options import ServerOptions

from local import configuration
from local.configuration import Program


def test_odd_characters_in_paths_and_values_arrive_unchanged(tmp_path: Path) -> None:
    odd = tmp_path / "50% of a 'clone'"
    odd.mkdir()
    command = [str(odd / "program"), "--folder", str(odd)]
    program = Program(
        name="worker-1", command=command, directory=odd, environment={"SHARE": "50%"}, stop_within_s=5
    )

    [server, services] = _parse(odd, servers=[_like(program, "postgres")], services=[program])

    [worker] = services.process_configs
    assert shlex.split(worker.command) == command
    assert worker.directory == str(odd)
    assert worker.environment["SHARE"] == "50%"
    assert not worker.autostart
    assert server.process_configs[0].autostart


def test_services_stop_first_and_servers_in_the_reverse_of_their_start(tmp_path: Path) -> None:
    one = Program(name="postgres", command=["true"], directory=tmp_path, stop_within_s=1)

    groups = _parse(tmp_path, servers=[one, _like(one, "valkey")], services=[_like(one, "api")])

    stopped = [group.name for group in sorted(groups, key=lambda group: group.priority, reverse=True)]
    assert stopped == ["services", "valkey", "postgres"]


def _like(program: Program, name: str) -> Program:
    return Program(name=name, command=program.command, directory=program.directory, stop_within_s=1)


def _parse(folder: Path, *, servers: list[Program], services: list[Program]) -> list[Any]:
    file = folder / "supervisord.conf"
    socket = folder / "supervisor.sock"
    file.write_text(
        configuration.text(folder, folder, socket, servers=servers, services=services, as_root=False)
    )
    options = ServerOptions()
    options.realize(["--configuration", str(file)])
    groups: list[Any] = options.process_group_configs
    return groups
