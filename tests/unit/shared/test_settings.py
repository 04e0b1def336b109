import re
import secrets
from datetime import timedelta
from pathlib import Path

import pytest

from shared import settings
from shared.errors import SettingsError
from shared.hotel.settings import HotelSettings

GOOD = {"DATABASE_URL": "postgresql://db/often", "REDIS_URL": "redis://cache"}


def test_the_environment_becomes_typed_settings() -> None:
    read = settings.read({**GOOD, "OFTEN_WORKER_GRACE": "2.5", "OFTEN_API_PORT": "8123", "HOME": "/"})
    assert (read.worker_grace, read.api_port) == (timedelta(seconds=2.5), 8123)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"REDIS_URL": ""}, "REDIS_URL is missing; write redis://"),
        ({"REDIS_URL": "redis://:pass#word@cache"}, "REDIS_URL must"),
        ({"REDIS_URL": "redis://one:6379,two:6379/0"}, "REDIS_URL must"),
        ({"REDIS_URL": "redis://cache:port"}, "REDIS_URL must"),
        ({"DATABASE_URL": "mysql://db"}, "DATABASE_URL must begin with postgres://"),
        ({"OFTEN_API_PORT": "http"}, "OFTEN_API_PORT must be a whole number, not 'http'"),
        ({"OFTEN_API_PORT": "70000"}, "OFTEN_API_PORT must be between 0 and 65535"),
        ({"OFTEN_WORKER_GRACE": "-1"}, "OFTEN_WORKER_GRACE must not be negative"),
        ({"OFTEN_WORKER_THREADS": "0"}, "OFTEN_WORKER_THREADS must be between 1 and 256"),
        ({"OFTEN_LOG_FORMAT": "xml"}, "OFTEN_LOG_FORMAT must be one of json, text"),
        ({"OFTEN_TRACING": "yes"}, "OFTEN_TRACING must be one of off, on"),
        ({"OFTEN_TRACE_CALLERS": "on"}, "OFTEN_TRACE_CALLERS must be one of link, follow"),
        ({"OFTEN_TRACE_RETRIES": "1"}, "OFTEN_TRACE_RETRIES must be one of off, on"),
        *(
            (
                {"OFTEN_TRACE_URL": url},
                "OFTEN_TRACE_URL must be like https://traces.example.com/trace/{trace_id}",
            )
            for url in ("https://traces.example.com", "javascript:alert({trace_id})", "{trace_id}")
        ),
        ({"OFTEN_STALL_AFTER": "1"}, "OFTEN_STALL_AFTER must be at least 10 seconds"),
        ({"OFTEN_RATE_LIMIT_USER": "many"}, "OFTEN_RATE_LIMIT_USER must be like 600/minute"),
        ({"OFTEN_RATE_LIMIT_ADDRESS": "0/minute"}, "OFTEN_RATE_LIMIT_ADDRESS must be like 600/minute"),
        ({"OFTEN_KEEP_ALIVE": "0.5"}, "OFTEN_KEEP_ALIVE must be at least 1 second"),
        ({"OFTEN_CORS_ORIGINS": "*"}, "OFTEN_CORS_ORIGINS must name origins like"),
        ({"OFTEN_CORS_ORIGINS": "https://a.example/, https://b.example"}, "not 'https://a.example/'"),
        *(
            ({"FORWARDED_ALLOW_IPS": text}, "FORWARDED_ALLOW_IPS must name the proxies in front of the API")
            for text in ("*", "0.0.0.0/0", "::/0", "10.0.0.7,*", "10.0.0.7/8", "proxy", "127.0.0.1,")
        ),
        ({"OFTEN_REQUEST_TIMEOUT": "0.5"}, "OFTEN_REQUEST_TIMEOUT must be at least 1 second"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY must have at least 32 characters"),
        ({"SECRET_KEY": "a" * 64}, "SECRET_KEY must be random, but has only 1 different characters; make"),
        ({"SECRET_KEY": "secret" * 8}, "SECRET_KEY must be random, but has only 5 different characters"),
        (
            {"SECRET_KEY": "correct horse battery " * 2},
            "SECRET_KEY must be random, but repeats itself after 22 characters",
        ),
        (
            {"SECRET_KEY": "abcdefghijklmnopqrstuvwxyz0123456789"},
            "SECRET_KEY must be random, but most of its characters follow each other",
        ),
        ({"OFTEN_SESSION_LIFE": "60"}, "OFTEN_SESSION_LIFE must not be shorter than"),
        ({"OFTEN_RATE_LIMIT_SIGN_IN": "0"}, "OFTEN_RATE_LIMIT_SIGN_IN must be like 600/minute"),
        (
            {"REDIS_URL_FILE": "x"},
            "REDIS_URL and REDIS_URL_FILE are both set: leave one of them out",
        ),
        (
            {"SECRET_KEY_FILE": "/nowhere/secret_key"},
            "SECRET_KEY_FILE names '/nowhere/secret_key', which cannot be read ([Errno 2]",
        ),
        (
            {"VAPID_PRIVATE_KEY": "c2hvcnQ"},
            "VAPID_PRIVATE_KEY must be base64url of the 32 bytes of a P-256 private key",
        ),
        ({"VAPID_PRIVATE_KEY": "A" * 43}, "VAPID_PRIVATE_KEY must be base64url of the 32 bytes"),
        ({"VAPID_SUBJECT": "ops@example.com"}, "VAPID_SUBJECT must be like mailto:you@host"),
        *(
            ({"OFTEN_PUSH_SANDBOX_URL": url}, "OFTEN_PUSH_SANDBOX_URL must begin with http://127.0.0.1")
            for url in ("http://10.0.0.7/push", "https://127.0.0.1/push", "http://127.0.0.1.example.com/")
        ),
        *(
            ({variable: url}, f"{variable} must begin with https://")
            for variable in ("SERP_API_BASE_URL", "TRAVCLAN_AUTH_URL", "TRAVCLAN_VOLT_URL", "STRIPE_BASE_URL")
            for url in (
                "http://api.example.com",
                "https://",
                "http://127.0.0.1.example.com",
                "api.example.com",
            )
        ),
        *(
            ({"OFTEN_STALL_AFTER": text}, f"OFTEN_STALL_AFTER must be a number of seconds, not '{text}'")
            for text in ("nan", "inf", "-inf", "soon")
        ),
        ({"OFTEN_STALL_AFTER": "1e308"}, "OFTEN_STALL_AFTER must be at most 315360000, but is 1e308"),
        ({"OFTEN_WORKER_MAX_TASKS": "9" * 30}, "OFTEN_WORKER_MAX_TASKS must be at most 2147483647"),
        ({"OFTEN_ACCESS_TOKEN_LIFE": "0"}, "OFTEN_ACCESS_TOKEN_LIFE must be at least 1 second"),
        *(
            ({"EMAILS_FROM_EMAIL": text}, "EMAILS_FROM_EMAIL must be a bare address like hello@example.com")
            for text in ("Name <a@b.example>", "a@b.example, c@d.example", "hello", "jörg@b.example")
        ),
        *(
            ({"OFTEN_PUBLIC_URL": url}, "OFTEN_PUBLIC_URL must begin with https:// and a host")
            for url in ("https://[", "https://a:port", "https://a:99999", "http://hotels.example")
        ),
        ({"OFTEN_API_HOST": "all addresses"}, "OFTEN_API_HOST must be a host name or an address"),
        ({"STRIPE_SECRET_KEY": "sk_ü"}, "STRIPE_SECRET_KEY must have ASCII characters only"),
        *(
            ({"SMTP_PASSWORD": text}, "SMTP_PASSWORD must be one line of UTF-8 text")
            for text in ("two\nlines", "\udcff")
        ),
        *(
            (
                {"OFTEN_APPLICATIONS": name},
                f"OFTEN_APPLICATIONS must name importable packages like shop.tasks, not '{name}'",
            )
            for name in (".", "..shop", "shop.", "my shop")
        ),
        (
            {"OFTEN_APPLICATIONS": "shop"},
            "OFTEN_APPLICATIONS names 'shop', but there is no module shop.application",
        ),
        (
            {"DATABASE_URL": "", "DATABASE_ULR": "x"},
            "DATABASE_URL is missing; write postgres://user:password@host:5432/name (ignored in the "
            "environment: DATABASE_ULR is not a setting: did you mean DATABASE_URL?)",
        ),
    ],
)
def test_a_wrong_setting_names_the_variable_and_the_rule(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        settings.read(GOOD | wrong)


def test_random_secret_keys_are_taken_however_they_are_written() -> None:
    for _ in range(300):
        for key in (secrets.token_hex(16), secrets.token_urlsafe(24), secrets.token_hex(32)):
            settings.read({**GOOD, "SECRET_KEY": key})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OFTEN_WORKER_THREAD", ": did you mean OFTEN_WORKER_THREADS?"),
        ("OFTEN_VAULT_KEY_FILE", ": did you mean OFTEN_VAULT_KEYS_FILE?"),
        ("DATABASE_ULR", ": did you mean DATABASE_URL?"),
        ("OFTEN_SOMETHING_NEWER", " of this release"),
    ],
)
def test_an_unknown_name_is_a_warning_with_the_nearest_known_one(
    name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.read(GOOD | {name: "secret"}).warn_of_ignored()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"ignored in the environment: {name} is not a setting{said}"


def test_service_links_of_kubernetes_are_ignored_and_named(caplog: pytest.LogCaptureFixture) -> None:
    links = {
        "OFTEN_API_PORT": "tcp://10.0.0.7:8000",
        "OFTEN_API_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "OFTEN_API_PORT_8000_TCP_ADDR": "10.0.0.7",
        "OFTEN_API_SERVICE_HOST": "10.0.0.7",
        "OFTEN_API_SERVICE_PORT_HTTP": "8000",
        "SMTP_PORT": "tcp://10.0.0.8:25",
    }
    read = settings.read(GOOD | links | {"REDIS_PORT": "tcp://10.0.0.9:6379", "SMTP_SERVICE_HOST": "x"})
    read.warn_of_ignored()
    assert (read.api_port, read.of(HotelSettings).smtp_port) == (8000, 25)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"ignored in the environment: {', '.join(sorted(links))}: service links of Kubernetes "
        "(set enableServiceLinks: false)"
    )


def test_an_environment_without_unknown_names_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    settings.read(GOOD | {"HOME": "/", "OFTEN_API_PORT": "80"}).warn_of_ignored()
    assert caplog.records == []


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    key = secrets.token_hex()
    file.write_bytes(b"\xef\xbb\xbf" + key.encode() + b"\r\n")
    assert settings.read({**GOOD, "SECRET_KEY_FILE": str(file)}).secret_key == key


@pytest.mark.parametrize("content", [b"\xff\xfek\x00e\x00y\x00", b"\xe9"])
def test_a_file_that_is_not_utf_8_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret_key"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"SECRET_KEY_FILE names .*secret_key', which cannot be read"):
        settings.read({**GOOD, "SECRET_KEY_FILE": str(file)})


def test_a_setting_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.write_text("postgresql://db/often\n")
    environ = {"DATABASE_URL_FILE": str(file), "REDIS_URL": "redis://cache", "OFTEN_API_PORT_FILE": ""}
    read = settings.read(environ)
    assert (read.database_url, read.api_port) == ("postgresql://db/often", 8000)


def test_an_empty_file_is_a_missing_setting(tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.touch()
    with pytest.raises(SettingsError, match="DATABASE_URL is missing; write postgres://"):
        settings.read({"DATABASE_URL_FILE": str(file), "REDIS_URL": "redis://cache"})
