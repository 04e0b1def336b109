"""Tests random texts in every setting: either the process can be built, or the error names the
variable and its rule.
"""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from services.worker import registry
from shared import applications, settings
from shared.environment import known_fields
from shared.errors import SettingsError
from shared.hotel.settings import HotelSettings
from shared.settings import Settings
from shared.transport.queues import connect
from shared.vault import Vault

GOOD = {
    "DATABASE_URL": "postgresql://db/often",
    "REDIS_URL": "redis://cache",
    "VAPID_PRIVATE_KEY": "A" * 42 + "E",
}
#: Variables that get no random texts. DATABASE_URL has separate tests. Random names in
#: OFTEN_APPLICATIONS would be imported, which could run any code.
APART = {"DATABASE_URL", "OFTEN_APPLICATIONS"}
KINDS: dict[str, type[Any]] = {
    variable: kind for kind in (Settings, HotelSettings) for variable in known_fields(kind)
}
VARIABLES = st.sampled_from(sorted(KINDS.keys() - APART))
#: Hypothesis strategy for texts that an environment variable can contain: without NUL, but with
#: lone surrogates for bytes that are not UTF-8.
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"https?://[a-z0-9.:@\[\]/?#-]{0,30}", fullmatch=True),
    st.from_regex(r"(redis|rediss|redis\+sentinel)://[a-z0-9.,:@\[\]/?#%=&-]{0,40}", fullmatch=True),
    st.from_regex(r"[0-9]{1,12}/(second|minute|hour|day)", fullmatch=True),
    st.from_regex(r"(mailto:)?[^@\0]{1,9}@[^@\0]{1,9}", fullmatch=True),
    st.from_regex(r"[a-z0-9]{0,4}:[A-Za-z0-9+/=]{0,44}", fullmatch=True),
    st.sampled_from(["tcp://10.0.0.1:80", "none", "starttls", "tls", "json", "text"]),
)


def refusal(given: dict[str, str]) -> str | None:
    """The error with which a process would refuse these settings; None if everything can be built
    from them.
    """
    try:
        read = settings.read(GOOD | given)
        Vault.from_setting(read.vault_keys)
    except SettingsError as error:
        return str(error)
    connect(read.redis_url)
    registry.gateways(applications.find(read.applications), read)
    return None


@given(st.dictionaries(VARIABLES, TEXTS, min_size=1, max_size=3))
@example({"REDIS_URL": "redis://:p#ss@cache:6379/0"})
@example({"OFTEN_PUSH_SANDBOX_URL": "http://127.0.0.1:99999"})
@example({"SERP_API_BASE_URL": "https://["})
@example({"OFTEN_VAULT_KEYS": "a:\x80"})
def test_any_text_makes_a_process_or_a_message_that_names_the_variable(given: dict[str, str]) -> None:
    refused = refusal(given)
    assert refused is None or any(variable in refused for variable in given), refused


@given(st.text(alphabet="._-ab, \u00e4", max_size=12))
def test_any_name_of_an_application_is_found_or_refused(name: str) -> None:
    refused = refusal({"OFTEN_APPLICATIONS": name})
    assert refused is None or "OFTEN_APPLICATIONS" in refused
