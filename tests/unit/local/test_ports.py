"""Tests of parsing port numbers from settings."""

import pytest

from local import ports
from local.errors import LaunchError


@pytest.mark.parametrize("text", ["abc", "", "0", "65536", "-1", "8000.0", "٨٠٠٠"])
def test_an_invalid_port_is_refused_with_variable_and_rule(text: str) -> None:
    with pytest.raises(LaunchError, match=r"OFTEN_API_PORT must be a port, a whole number from 1 to 65535"):
        ports.parse(text, "OFTEN_API_PORT")


@pytest.mark.parametrize("port", [1, 8000, 65535])
def test_a_port_is_read(port: int) -> None:
    assert ports.parse(str(port), "OFTEN_API_PORT") == port
