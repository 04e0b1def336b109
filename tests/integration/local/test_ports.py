"""Tests of choosing ports for the local system.

They bind real sockets, because the module has to find out which ports are free.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import ports
from local.errors import LaunchError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other_program:
        other_program.bind((ports.HOST, 0))
        other_program.listen()
        yield other_program.getsockname()[1]


def test_a_preferred_port_that_is_free_is_taken() -> None:
    free = ports.pick("any")["any"]

    assert ports.pick("api", preferred={"api": free}) == {"api": free}


def test_a_preferred_port_that_is_taken_gives_way_to_another(taken: int) -> None:
    chosen = ports.pick("api", preferred={"api": taken})["api"]

    assert chosen != taken
    assert ports.is_free(chosen)


def test_a_demanded_port_that_is_taken_is_refused_with_what_to_do(taken: int) -> None:
    with pytest.raises(LaunchError, match=rf"Port {taken} is taken.*OFTEN_API_PORT={taken + 1} make run"):
        ports.demand(taken, "OFTEN_API_PORT")


def test_no_two_names_get_the_same_port() -> None:
    names = [f"service-{number}" for number in range(50)]

    assert len(set(ports.pick(*names).values())) == len(names)


def test_the_next_start_gets_the_same_ports(tmp_path: Path) -> None:
    first = ports.pick_again(tmp_path / "ports.json", "postgres", "valkey")

    assert ports.pick_again(tmp_path / "ports.json", "postgres", "valkey") == first
