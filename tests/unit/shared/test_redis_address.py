"""Tests of parsing REDIS_URL: its parts, the rules that it may break, and that no message shows a
password.
"""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.transport import address
from shared.transport.address import check_url, parse
from shared.transport.connection import pool
from shared.url import BrokenRule


def test_a_plain_address_has_defaults() -> None:
    target = parse("redis://cache")
    assert (target.hosts, target.service, target.tls, target.options) == (
        (("cache", 6379),),
        None,
        False,
        {"db": 0},
    )


def test_every_part_of_an_address_is_understood() -> None:
    target = parse("rediss://often:p%23%2Fw@[::1]:6380/7?ssl_ca_certs=/ca.pem&ssl_check_hostname=no")
    assert (target.hosts, target.tls) == ((("::1", 6380),), True)
    assert target.options == {
        "username": "often",
        "password": "p#/w",
        "db": 7,
        "ssl_ca_certs": "/ca.pem",
        "ssl_check_hostname": False,
    }


def test_sentinels_have_hosts_a_service_and_a_password_of_their_own() -> None:
    target = parse("redis+sentinel://:data@a:1,b/often/3?sentinel_password=watch")
    assert (target.hosts, target.service) == ((("a", 1), ("b", 26379)), "often")
    assert target.options == {"username": None, "password": "data", "db": 3}
    assert target.sentinel_options == {"password": "watch"}


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "must begin with one of redis://"),
        ("http://cache", "must begin with one of redis://"),
        ("redis://", "must name a host"),
        ("redis://:secret#1@cache", "write %23 for #"),
        ("redis://:secret/1@cache", "write %2F for /"),
        ("redis://:secret[1@cache", "write %5B for ["),
        ("redis://:secret]?1@cache", "write %3F for ?, %5D for ]"),
        ("redis://:secret@1@cache", "write %40 for @"),
        ("redis://cache/0#secret", "write %23 for #"),
        ("redis://secret@cache", "must have a ':' before the password"),
        ("redis://:secret 1@cache", "must not contain spaces"),
        ("redis://user:secret", "a port as a number"),
        ("redis://:secret@cache:port", "a port as a number"),
        ("redis://:secret@cache:70000", "between 1 and 65535"),
        ("redis://:secret@cache:0", "between 1 and 65535"),
        ("redis://:secret@cache/zero", "the number of a database"),
        ("redis://:secret@cache/0/1", "the number of a database"),
        ("redis://:secret@a:6379,b:6379/0", "redis+sentinel://"),
        ("redis+sentinel://:secret@a,b", "must name the service"),
        ("redis+sentinel://:secret@a,b/often/x", "the number of a database"),
        ("redis://:secret@cache?ssl_ca_certs=/ca.pem", "must begin with rediss://"),
        ("redis://:secret@cache?nonsense=secret", "unknown option"),
        ("rediss://:secret@cache?ssl_cert_reqs=secret", "wrong value for its option ssl_cert_reqs"),
    ],
)
def test_a_broken_rule_is_named_without_any_part_of_the_password(url: str, rule: str) -> None:
    said = check_url(url)
    assert said is not None
    assert rule in said
    assert "secret" not in said
    with pytest.raises(BrokenRule):
        pool(url)


@given(st.text())
def test_any_encoded_password_reaches_the_server_as_it_is(password: str) -> None:
    target = parse(f"redis://:{quote(password, safe='')}@cache:6379/1")
    assert target.options["password"] == (password or None)
    assert target.hosts == (("cache", 6379),)


@given(
    st.text(alphabet="AZ#/[]?@:,%&= \n", min_size=1, max_size=12),
    st.sampled_from(
        ["redis://:{}@cache:6379/0", "redis://{}", "redis+sentinel://:{}@a,b/often", "redis://c/{}"]
    ),
)
def test_any_address_is_understood_or_refused_with_a_rule(text: str, form: str) -> None:
    said = check_url(form.format(f"MARK{text}"))
    assert said is None or "MARK" not in said


def test_a_target_does_not_show_its_password() -> None:
    assert "secret" not in repr(address.parse("redis+sentinel://:secret@a/often?sentinel_password=secret"))
