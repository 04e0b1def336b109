"""Tests of push endpoints and keys, as browsers and other clients send them."""

import pytest

from shared.hotel import web_push

SANDBOX = "http://127.0.0.1:8400/push"
#: The private key with the number 1. Its public key is the generator point of the curve P-256.
PRIVATE = "A" * 42 + "E"
POINT = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
AUTH = "AAECAwQFBgcICQoLDA0ODw"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc:def_g-h",
        "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
        "https://db5p.notify.windows.com/w/?token=BQYAAAB%2b%2f",
        "https://push.example.com:8443/1",
        "HTTPS://Push.Example.COM/1",
        f"{SANDBOX}/1",
    ],
)
def test_an_endpoint_of_a_push_service_is_accepted(endpoint: str) -> None:
    web_push.check_endpoint(endpoint, SANDBOX)


@pytest.mark.parametrize(
    ("endpoint", "rule"),
    [
        ("http://push.example.com/1", "https://"),
        ("ftp://push.example.com/1", "https://"),
        ("//push.example.com/1", "https://"),
        ("https://user:secret@push.example.com/1", "without user"),
        ("https://@push.example.com/1", "without user"),
        (r"https://push.example.com\@127.0.0.1/1", "without user"),
        *(
            (f"https://{host}/1", "public host")
            for host in (
                *("127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "10.0.0.7", "[::1]", "[::ffff:7f00:1]"),
                *("8.8.8.8", "[2001:4860:4860::8888]", "a.0x7f", "a.lan", ""),
                *(
                    "localhost",
                    "LOCALHOST",
                    "app.localhost",
                    "printer.local",
                    "db.internal",
                    "redis",
                    "a.lan",
                ),
                *("push.example.com.", "push..example.com", "-.example.com", "a%2eexample.com", "a_b.com"),
            )
        ),
        (r"https://push.example.com\.local/1", "public host"),
        ("https://push.example.com:99999/1", "URL"),
        *((f"https://push.example.com:{port}/1", "port 443") for port in (0, 1, 9, 80, 1023, 6000, 10080)),
        ("https://[push/1", "URL"),
        ("https://push.example.com/a b", "URL"),
        ("https://push.example.com/\r\nHost: inside", "URL"),
        ("https://pu\N{LATIN SMALL LETTER S WITH CARON}h.example.com/1", "URL"),
        (f"https://push.example.com/{'a' * 1_000}", "at most 1000"),
        ("http://127.0.0.1:8400/pushed", "https://"),
        ("http://127.0.0.1:8400/push", "https://"),
    ],
)
def test_an_endpoint_that_may_be_internal_is_refused(endpoint: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^endpoint must .*{rule}"):
        web_push.check_endpoint(endpoint, SANDBOX)


def test_without_a_sandbox_nothing_leads_to_this_machine() -> None:
    with pytest.raises(ValueError, match="endpoint must begin with https"):
        web_push.check_endpoint(f"{SANDBOX}/1", "")
    with pytest.raises(ValueError, match="endpoint must"):
        web_push.check_endpoint("/1", "")


def test_keys_are_read_with_and_without_padding() -> None:
    web_push.check_keys(POINT, AUTH)
    web_push.check_keys(f"{POINT}=", f"{AUTH}==")


@pytest.mark.parametrize(
    ("p256dh", "auth", "rule"),
    [
        (POINT, AUTH[:-2], "16 bytes"),
        (POINT, "", "16 bytes"),
        (POINT[:-4], AUTH, "65 bytes"),
        ("", AUTH, "65 bytes"),
        # Invalid keys: a point in compressed form, a wrong first byte, and a point that is not on
        # the curve.
        (web_push.encode(b"\x02" + web_push.decode(POINT)[1:33]), AUTH, "65 bytes"),
        (web_push.encode(b"\x05" + web_push.decode(POINT)[1:]), AUTH, "65 bytes"),
        (web_push.encode(b"\x04" + bytes(64)), AUTH, "P-256"),
        (POINT.replace("_", "/"), AUTH, "base64url"),
        (POINT + "A" * 2, AUTH, "base64url"),
        (POINT, "AAECAwQFBgcICQoLDA0ODw\n", "base64url"),
        (POINT, "é" * 22, "base64url"),
    ],
)
def test_invalid_keys_are_refused(p256dh: str, auth: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^keys must .*{rule}"):
        web_push.check_keys(p256dh, auth)


def test_browsers_get_the_public_half_of_our_key() -> None:
    assert web_push.public_key(PRIVATE) == POINT


@pytest.mark.parametrize("private", ["", "A" * 43, "_" * 43, PRIVATE[:-1], f"{PRIVATE}AAA", "not base64"])
def test_an_invalid_key_is_not_quoted(private: str) -> None:
    with pytest.raises(ValueError, match="must be base64url of the 32 bytes") as caught:
        web_push.public_key(private)
    assert caught.value.__suppress_context__
    assert not private or private not in str(caught.value)
