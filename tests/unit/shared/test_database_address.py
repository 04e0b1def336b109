"""Tests of parsing DATABASE_URL: its parts, the rules that it may break, and that no message shows
a password.
"""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import settings
from shared.errors import SettingsError
from shared.ledger.address import SCHEMES, check_url, parse
from shared.ledger.connector import Connector
from shared.ledger.session import set_up
from shared.transport.connection import pool
from shared.url import BrokenRule


def test_a_plain_address_leaves_the_rest_to_the_driver() -> None:
    target = parse("postgres://db")
    assert (target.hosts, target.user, target.password, target.database) == (
        (("db", 5432),),
        None,
        None,
        None,
    )
    assert (target.connect_timeout_s, target.primary_only, target.tls) == (None, False, {})


def test_every_part_of_an_address_is_understood() -> None:
    target = parse(
        "postgresql://often%40x:p%23%2Fw@[::1]:5433,standby/led%20ger?sslmode=verify-full&sslrootcert=/ca.pem"
        "&connect_timeout=10&application_name=hotel&channel_binding=prefer&target_session_attrs=read-write"
        "&options=-c%20search_path%3Doften%20-c%20TimeZone%3D'Asia/Kolkata'"
    )
    assert target.hosts == (("::1", 5433), ("standby", 5432))
    assert (target.user, target.password, target.database) == ("often@x", "p#/w", "led ger")
    assert target.tls == {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}
    assert (target.connect_timeout_s, target.application, target.primary_only) == (10, "hotel", True)
    assert target.settings == {"search_path": "often", "TimeZone": "Asia/Kolkata"}


def test_a_folder_of_sockets_is_an_option() -> None:
    target = parse("postgres://often@/ledger?host=/run/postgresql&port=5433")
    assert (target.hosts, target.database) == ((("/run/postgresql", 5433),), "ledger")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "must begin with postgres://"),
        ("mysql://db", "must begin with postgres://"),
        ("postgres://", "must name a host"),
        ("postgres:///secret", "must name a host"),
        ("postgres://u:secret#1@db/x", "write %23 for #"),
        ("postgres://u:secret/1@db/x", "write %2F for /"),
        ("postgres://u:secret?1@db/x", "write %3F for ?"),
        ("postgres://u:secret@1@db/x", "write %40 for @"),
        ("postgres://u:secret 1@db/x", "must not contain spaces"),
        ("postgres://u:secret%00@db/x", "must not contain %00"),
        ("postgres://u:p@db/x#secret", "write %23 for #"),
        ("postgres://u:p@db:port/x", "a port as a number"),
        ("postgres://u:p@db:70000/x", "between 1 and 65535"),
        ("postgres://u:p@a:1,/x", "must name a host"),
        ("postgres://u:p@db/x/y", "must begin with postgres://"),
        ("postgres://u:p@db/x?sslmode=required", "sslmode, which must be one of disable"),
        ("postgres://u:p@db/x?channel_binding=require", "channel_binding, which must not be require"),
        ("postgres://u:p@db/x?connect_timeout=secret", "connect_timeout, which must be a number of seconds"),
        ("postgres://u:p@db/x?connect_timeout=61", "from 0 to 60"),
        ("postgres://u:p@db/x?target_session_attrs=standby", "every process writes"),
        ("postgres://u:p@db/x?keepalives_idle=5", "leave it out"),
        ("postgres://db/x?password=secret", "must be written before '?'"),
        ("postgres://u:p@db/x?statement_timeout=secret", "unknown option"),
        ("postgres://u:p@db/x?sslmode=require&sslmode=disable", "sslmode twice"),
        ("postgres://u:p@db/x?options=secret", "must look like '-c name=value'"),
        ("postgres://u:p@db/x?options=-c", "must look like '-c name=value'"),
        ("postgres://u:p@db/x?sslrootcert=/secret/ca.pem", "sslrootcert, whose file cannot be used"),
    ],
)
def test_a_broken_rule_is_named_without_any_part_of_the_password(url: str, rule: str) -> None:
    said = check_url(url)
    assert said is not None
    assert rule in said
    assert "secret" not in said


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    said = check_url(f"postgres://db/x?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem")
    assert said is not None
    assert "sslrootcert, whose file cannot be used" in said


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_encoded_password_reaches_the_server_as_it_is(password: str) -> None:
    target = parse(f"postgres://often:{quote(password, safe='')}@db:5432/x")
    assert target.password == (password or None)
    assert target.hosts == (("db", 5432),)


TEXTS = st.text(alphabet="aZ0#/[]?@:,%&=-+' \n\0é", max_size=12)
OPTIONS = st.sampled_from(["sslmode", "options", "connect_timeout", "host", "port", "sslcert"])
ADDRESSES = st.one_of(
    TEXTS,
    st.builds(
        "{}://{}MARK{}@{}/{}?{}={}".format,
        st.sampled_from([*SCHEMES, "redis", "rediss", "redis+sentinel"]),
        TEXTS,
        TEXTS,
        st.one_of(st.just("a:1,b"), TEXTS),
        st.one_of(st.just("0"), TEXTS),
        st.one_of(
            st.sampled_from(["sslmode", "options", "connect_timeout", "host", "port", "sslcert"]), TEXTS
        ),
        TEXTS,
    ),
)


@given(ADDRESSES, ADDRESSES)
def test_any_two_addresses_are_taken_or_refused_in_one_line_that_names_the_variable(
    database_url: str, redis_url: str
) -> None:
    said = refusal({"DATABASE_URL": database_url, "REDIS_URL": redis_url})
    if said is None:
        Connector(database_url)
        pool(redis_url)
    else:
        assert said.startswith(("DATABASE_URL ", "REDIS_URL "))
        assert "MARK" not in said
        assert "\n" not in said


def refusal(environment: dict[str, str]) -> str | None:
    try:
        settings.read(environment)
    except SettingsError as error:
        return str(error)
    return None


def test_a_target_does_not_show_its_passwords() -> None:
    assert "secret" not in repr(parse("postgres://u:secret@db/x?sslpassword=secret"))


def test_an_address_that_breaks_a_rule_is_refused_where_a_pool_is_built() -> None:
    with pytest.raises(BrokenRule):
        Connector("postgres://db:0")


def test_values_of_settings_are_quoted() -> None:
    assert set_up({"a": r"it's \ fine"}) == r"SELECT set_config(E'a', E'it''s \\ fine', false);"
