import base64
import json
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.contract import Contract, Params, Result
from shared.contracts.sensitivity import SENSITIVE
from shared.errors import SettingsError, VaultError
from shared.telemetry.redaction import redact
from shared.vault import MASK, UNREADABLE, Vault

OLD, NEW = bytes(32), bytes(range(32))
TASK, OTHER_TASK, ANN = uuid4(), uuid4(), 7
#: The value "before" of the field `token` of a `sample.pay` task, as release 0.2 encrypted it with
#: the key OLD.
SEALED_BY_0_2 = "old:PfcY6RCGSq858I81QM6KcWPoFcxk4M0A5rtjiX+M77WP6uRr"


class Card(msgspec.Struct):
    number: Annotated[str, SENSITIVE]
    label: str = ""


class Pay(Params):
    amount: int
    token: Annotated[str | None, SENSITIVE] = None
    cards: list[Card] = msgspec.field(default_factory=list)


class Paid(Result):
    receipt: Annotated[str, SENSITIVE]


class Plain(Params):
    amount: int


PAY = Contract(name="sample.pay", queue="default", params=Pay, result=Paid)
OTHER = Contract(name="sample.other", queue="default", params=Pay, result=Paid)
PLAIN = Contract(name="sample.plain", queue="default", params=Plain, result=Result)


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_sensitive_fields_are_found_in_params_and_result() -> None:
    assert PAY.sensitive_params == frozenset({"token", "cards"})
    assert PAY.sensitive_result == frozenset({"receipt"})
    assert (PLAIN.sensitive_params, PLAIN.sensitive_result) == (frozenset(), frozenset())


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_what_was_sealed_opens_and_cannot_be_read_before(text: str) -> None:
    vault = Vault({"new": NEW})
    stored = vault.seal_params(PAY, Pay(amount=1, token=text, cards=[Card(number=text)]), TASK, ANN)
    document = json.loads(stored.text)
    assert stored.key_id == "new"
    assert document["amount"] == 1
    assert document["token"].keys() == document["cards"].keys() == {"$bound"}
    params, _ = vault.open_params(PAY, stored.text, TASK, ANN)
    assert params == Pay(amount=1, token=text, cards=[Card(number=text)])


def test_after_a_change_of_keys_old_rows_open_and_new_ones_use_the_new_key() -> None:
    old = Vault({"old": OLD}).seal_params(PAY, Pay(amount=1, token="before"), TASK, ANN)
    rotated = Vault.from_setting(f"new:{encoded(NEW)},old:{encoded(OLD)}")
    assert rotated.open_params(PAY, old.text, TASK, ANN)[0].token == "before"
    assert rotated.seal_params(PAY, Pay(amount=1, token="after"), TASK, ANN).key_id == "new"
    with pytest.raises(VaultError, match="lacks the key 'old'"):
        Vault({"new": NEW}).open_params(PAY, old.text, TASK, ANN)


def test_a_ciphertext_of_another_field_task_or_owner_or_a_changed_one_does_not_open() -> None:
    vault = Vault({"new": NEW})
    params = Pay(amount=1, token="x", cards=[Card(number="y")])
    document = json.loads(vault.seal_params(PAY, params, TASK, ANN).text)
    sealed = document["token"]["$bound"]
    swapped = {**document, "token": document["cards"]}
    changed = {**document, "token": {"$bound": sealed[:-8] + "AAAAAAA="}}
    # An encrypted value is bound to its row and owner. Marking it as the older form, which is not
    # bound, must not make it readable in another row.
    unbound = {**document, "token": {"$sealed": sealed}}
    no_base64, short = ({**document, "token": {"$bound": f"new:{text}"}} for text in ("-", "AAAA"))
    for broken in (swapped, changed, unbound, no_base64, short):
        with pytest.raises(VaultError, match="was changed"):
            vault.open_params(PAY, json.dumps(broken), TASK, ANN)
    for contract, task, owner in (
        (OTHER, TASK, ANN),
        (PAY, OTHER_TASK, ANN),
        (PAY, TASK, 8),
        (PAY, TASK, None),
    ):
        with pytest.raises(VaultError, match="belongs to another task or owner"):
            vault.open_params(contract, json.dumps(document), task, owner)


def test_what_release_0_2_sealed_still_opens() -> None:
    vault = Vault({"old": OLD})
    text = json.dumps({"amount": 1, "token": {"$sealed": SEALED_BY_0_2}})
    assert vault.open_params(PAY, text, TASK, ANN)[0].token == "before"
    assert vault.read(PAY, "params", text, TASK, ANN, unmask=True)["token"] == "before"
    assert vault.read(None, "params", text, TASK, ANN, unmask=True)["token"] == MASK
    with pytest.raises(VaultError, match="was changed"):
        vault.open_params(OTHER, text, TASK, ANN)


def test_a_field_that_does_not_open_hides_no_other_one() -> None:
    vault = Vault({"new": NEW})
    text = vault.seal_params(PAY, Pay(amount=7, token="x"), TASK, ANN).text
    broken = json.loads(text) | {"token": {"$bound": "dropped:AAAA"}}
    seen = vault.read(PAY, "params", json.dumps(broken), TASK, ANN, unmask=True)
    assert seen == {"amount": 7, "token": UNREADABLE, "cards": []}
    moved = vault.read(PAY, "params", text, OTHER_TASK, ANN, unmask=True)
    assert moved == {"amount": 7, "token": UNREADABLE, "cards": UNREADABLE}


def test_what_was_sealed_under_a_former_name_or_field_still_opens() -> None:
    class Renamed(Params):
        secret: Annotated[str, SENSITIVE]

    renamed = Contract(
        name="sample.charge",
        queue="default",
        params=Renamed,
        result=Paid,
        version=2,
        former_names=("sample.pay",),
        upcasts={1: lambda raw: {"secret": raw["token"]}},
    )
    vault = Vault({"new": NEW})
    text = vault.seal_params(PAY, Pay(amount=1, token="abc"), TASK, ANN).text
    assert vault.open_params(renamed, text, TASK, ANN, version=1) == (Renamed(secret="abc"), ("abc",))


def test_readers_without_the_right_see_a_mask() -> None:
    vault = Vault({"new": NEW})
    text = vault.seal_params(PAY, Pay(amount=7, token="x"), TASK, ANN).text

    def seen(contract: Contract[Any, Any] | None, *, unmask: bool) -> Any:
        return vault.read(contract, "params", text, TASK, ANN, unmask=unmask)

    assert seen(PAY, unmask=True) == {"amount": 7, "token": "x", "cards": []}
    assert seen(PAY, unmask=False) == {"amount": 7, "token": MASK, "cards": MASK}
    assert seen(None, unmask=True) == {"amount": 7, "token": MASK, "cards": MASK}
    # A value that is not encrypted: it was stored before its field became sensitive. Or its
    # submitter gave it the form of an encrypted one.
    plain = '{"amount": 1, "token": "x"}'
    assert vault.read(PAY, "params", plain, TASK, ANN, unmask=False)["token"] == MASK
    forged = {"amount": {"$bound": "x"}}
    assert vault.read(PLAIN, "params", json.dumps(forged), TASK, ANN, unmask=True) == forged


def test_without_sensitive_fields_nothing_is_sealed_and_no_key_is_needed() -> None:
    assert Vault().seal_params(PLAIN, Plain(amount=1), TASK, ANN) == ('{"amount":1}', None)
    Vault().require([PLAIN])
    with pytest.raises(SettingsError, match=r"OFTEN_VAULT_KEYS is missing, but sample\.pay"):
        Vault().require([PLAIN, PAY])


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("noid", "must be 32 random bytes"),
        ("a:short", "must be 32 random bytes"),
        (f"A:{encoded(NEW)}", "ids of lower case"),
        (f"a:{encoded(NEW)},a:{encoded(OLD)}", "twice"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=rule):
        Vault.from_setting(setting)


@given(st.text(min_size=3), st.text(), st.text())
def test_a_secret_is_shown_neither_plainly_nor_quoted(secret: str, before: str, after: str) -> None:
    for quoted in (secret, repr(secret), json.dumps(secret)):
        said = redact(f"{before}{quoted}{after}", [secret])
        assert secret not in said.replace("[hidden]", "") or secret in before + after or secret in "[hidden]"


def test_digests_are_found_again_after_a_change_of_keys_and_differ_between_keys() -> None:
    plain, old, both = Vault(), Vault({"old": OLD}), Vault({"new": NEW, "old": OLD})
    before, after = old.digests(b"body"), both.digests(b"body")
    assert before[0] in after[1:]
    assert plain.digests(b"body")[0] in before[1:]
    assert len({*plain.digests(b"body"), *before, *after}) == 3
    assert not {*after} & {*both.digests(b"another body")}
