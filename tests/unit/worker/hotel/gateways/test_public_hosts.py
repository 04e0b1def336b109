"""Tests of the addresses to which a host name given by a client may resolve."""

import pytest

from services.worker.hotel.gateways.public_hosts import is_public

#: Addresses that must be refused: one from each block in IANA's special-purpose registries that is
#: not globally reachable, and from blocks that embed an IPv4 address or were abandoned.
INSIDE = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.7", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1"),
    *("192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::1",
        "::8.8.8.8",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:0:8.8.8.8",
        "fe80::1%1",
        "fc00::1",
    ),
    *("fd00::1", "fec0::1", "feff::1", "ff02::1", "100::1", "100:0:0:1::1", "64:ff9b::127.0.0.1"),
    *("64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1", "2001::1", "2001:1::1", "2001:2::1"),
    *("2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:db8::1", "2002:7f00:1::"),
    *("2002:a00:7::1", "3fff::1", "3fff:fff::1", "5f00::1", "4000::1"),
)
OUTSIDE = ("8.8.8.8", "192.31.196.1", "2001:4860:4860::8888", "2620:4f:8000::1", "2a00:1450::1")


@pytest.mark.parametrize("address", INSIDE)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [*OUTSIDE, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(address)
