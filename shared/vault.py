"""Encrypts ("seals") sensitive fields of tasks before they are stored, decrypts ("opens") them for
the task body, and masks them for other readers.

In the stored JSON document, a sealed field has the form `{"$bound": "<key id>:<nonce and
ciphertext, base64>"}`. The cipher is AES-256-GCM (NIST SP 800-38D). The contract, the field, the
row and the owner are associated data, so a ciphertext that was moved to another field, task or
owner cannot be opened.

Release 0.2 wrote the key `$sealed` instead, and did not bind the field to its row and owner. Such
fields can still be opened, because schedules keep them until the schedule is changed.
docs/decisions/0024 says when support for this form will be removed.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeGuard
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.contracts.contract import Contract, P, R
from shared.errors import FieldProblem, InvalidFields, SettingsError, VaultError
from shared.telemetry.redaction import REDACTED

#: Text that is shown in place of a sensitive value to readers who have no right to see it.
MASK = REDACTED
#: Text that is shown in place of a sensitive value to readers who have the right to see it, if it
#: cannot be decrypted because its key is missing or because it was moved to another row.
UNREADABLE = "[unreadable]"
#: Error text for submitted parameters that contain one of these two placeholders instead of a
#: value.
_SHOWN_RULE = f"must be the value itself, not {MASK} or {UNREADABLE}, which answers show in its place"
#: JSON key that marks an encrypted value which is bound to its row and owner.
BOUND = "$bound"
#: JSON key that marks an encrypted value of release 0.2, which is bound only to its contract and
#: field.
SEALED = "$sealed"
VARIABLE = "OFTEN_VAULT_KEYS"
NONCE_BYTES, KEY_BYTES = 12, 32
#: Minimum length of a secret text that is hidden in logs. Shorter texts occur everywhere by chance.
SHORTEST_SECRET = 3

#: Constant from which, together with each vault key, the keys of `Vault.digests` are derived.
_DIGEST = b"often: digest of a submission"
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

#: Identifies the row to which a sealed field belongs: the id of a task, the name of a schedule, or
#: the result of `params_row`.
Row = UUID | str


def params_row(task: UUID, workflow: UUID | None, step: str | None, member: int | None) -> Row:
    """The row identifier to which the sealed parameters of a task are bound. A task of a workflow
    is identified by its workflow, step and member number instead of its id, because its parameters
    are sealed before its id is known.
    """
    return task if workflow is None else step_row(workflow, step, member)


def step_row(workflow: UUID, step: str | None, member: int | None) -> str:
    """The row identifier of one task (member) of a workflow's step. `member` is None if the step is
    a single task.
    """
    return f"workflow {workflow} {step} {member or 0}"


class Stored(NamedTuple):
    """A JSON document as it is stored in a row, with its sensitive fields sealed."""

    #: The JSON text, in which sensitive fields are sealed.
    text: str
    #: Id of the key with which fields were sealed. None if no field was.
    key_id: str | None


class Vault:
    """Encrypts and decrypts sensitive fields. It has keys by id: the first one encrypts, and all of
    them decrypt.
    """

    def __init__(self, keys: Mapping[str, bytes] | None = None) -> None:
        self._keys = {key_id: AESGCM(key) for key_id, key in (keys or {}).items()}
        # Separate keys are derived for digests, so that no key is used with two algorithms.
        self._digest_keys = [hmac.digest(key, _DIGEST, "sha256") for key in (keys or {}).values()]
        self.current = next(iter(self._keys), None)

    @classmethod
    def from_setting(cls, text: str) -> Self:
        """Parse the setting OFTEN_VAULT_KEYS, which has the form `id:base64,id:base64` with the
        newest key first. Raises SettingsError.
        """
        keys: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            key_id, _, encoded = entry.partition(":")
            keys[_checked_id(key_id, keys)] = _decoded(key_id, encoded)
        return cls(keys)

    def require(self, contracts: Iterable[Contract[Any, Any]]) -> None:
        """Raise SettingsError if one of the contracts has sensitive fields and there is no key."""
        for contract in contracts:
            if self.current is None and (contract.sensitive_params or contract.sensitive_result):
                raise _missing_for(contract)

    def digests(self, data: bytes) -> tuple[bytes, ...]:
        """Compute digests by which equal data is recognized: one with each key, the current key
        first, and one without a key.

        Digests are keyed, because a sensitive value could be guessed from a plain hash. Without
        keys there can be no sensitive fields, so the plain hash is the only digest.
        """
        keyed = [hmac.digest(key, data, "sha256") for key in self._digest_keys]
        return (*keyed, hashlib.sha256(data).digest())

    def seal_params(self, contract: Contract[P, Any], params: P, row: Row, owner: int | None) -> Stored:
        """Encode the parameters of a task as JSON and seal their sensitive fields. Raises
        InvalidFields, as `Contract.encode_params` and `seal_encoded` do.
        """
        return self.seal_encoded(contract, contract.encode_params(params), row, owner)

    def seal_encoded(self, contract: Contract[Any, Any], text: str, row: Row, owner: int | None) -> Stored:
        """Seal the sensitive fields of parameters that `Contract.encode_params` has encoded.

        Raises InvalidFields if a sensitive field contains one of the placeholders MASK and
        UNREADABLE.
        """
        return self._seal(_Seal(contract, "params", row, owner), text)

    def seal_result(self, contract: Contract[Any, R], result: R, row: Row, owner: int | None) -> Stored:
        """Encode the result of a task as JSON and seal its sensitive fields. Raises InvalidFields,
        as `Contract.encode_result` does.
        """
        return self._seal(_Seal(contract, "result", row, owner), contract.encode_result(result))

    def open_result(self, contract: Contract[Any, Any], text: str, row: Row, owner: int | None) -> Any:
        """Decrypt the sealed fields of a stored result. Returns plain JSON values. Raises
        VaultError if a field cannot be decrypted.
        """
        seal = _Seal(contract, "result", row, owner)
        return self._opened(seal, msgspec.json.decode(text), contract.sensitive_result)

    def open_fields(
        self, contract: Contract[Any, Any], params: Mapping[str, Any], row: Row, owner: int | None
    ) -> dict[str, Any]:
        """Decrypt the sealed fields of stored parameters, which may be a selection. Returns plain
        JSON values. Raises VaultError if a field cannot be decrypted.
        """
        return self._opened(_Seal(contract, "params", row, owner), dict(params), contract.sensitive_params)

    def open_params(
        self,
        contract: Contract[P, Any],
        text: str,
        row: Row,
        owner: int | None,
        version: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> tuple[P, tuple[str, ...]]:
        """Decrypt and decode stored parameters. Also returns every text and number in their
        sensitive fields, which `redaction` hides in logs.

        `version` is the contract version under which the parameters were stored; None means the
        current one. `more` contains further parameters that are stored elsewhere. Raises
        InvalidFields if the document does not fit the contract, and VaultError if a field cannot be
        decrypted.
        """
        older = version is not None and version < contract.version
        if not contract.sensitive_params and not older and not more:
            return contract.decode_params(text), ()
        document, seal = {**msgspec.json.decode(text), **(more or {})}, _Seal(contract, "params", row, owner)
        if older and version is not None:
            # Every sealed field is decrypted, because in that older version a sensitive field may
            # have had another name, or another field may have been sensitive.
            sealed = {name for name, value in document.items() if _is_sealed(value)}
            document = self._opened(seal, document, contract.sensitive_params | sealed)
            document = contract.upcast(document, version)
        else:
            document = self._opened(seal, document, contract.sensitive_params)
        return contract.check_params(document), _secrets_in(document, contract.sensitive_params)

    def read(
        self,
        contract: Contract[Any, Any] | None,
        root: str,
        text: str,
        row: Row,
        owner: int | None,
        *,
        unmask: bool,
    ) -> Any:
        """The stored document as the API shows it. `root` is "params" or "result".

        A field that cannot be decrypted is shown as UNREADABLE, without affecting other fields. If
        the contract no longer exists, all sealed fields are masked for every reader.
        """
        document = msgspec.json.decode(text)
        if not isinstance(document, dict):
            return document
        if contract is None:
            return {name: MASK if _is_sealed(value) else value for name, value in document.items()}
        seal = _Seal(contract, root, row, owner)
        if not unmask:
            return {name: MASK if name in seal.sensitive else value for name, value in document.items()}
        return {
            name: self._shown(seal, name, value) if name in seal.sensitive else value
            for name, value in document.items()
        }

    def _seal(self, seal: "_Seal", text: str) -> Stored:
        if not seal.sensitive:
            return Stored(text, None)
        if self.current is None:
            raise _missing_for(seal.contract)
        document = msgspec.json.decode(text)
        if seal.root == "params" and (shown := _shown_instead(document, seal.sensitive)):
            raise InvalidFields([FieldProblem(f"params.{name}", _SHOWN_RULE) for name in shown])
        for name in seal.sensitive & document.keys():
            nonce = os.urandom(NONCE_BYTES)
            plain = msgspec.json.encode(document[name])
            sealed = nonce + self._keys[self.current].encrypt(nonce, plain, next(seal.bindings(name, BOUND)))
            document[name] = {BOUND: f"{self.current}:{base64.b64encode(sealed).decode()}"}
        return Stored(msgspec.json.encode(document).decode(), self.current)

    def _opened(self, seal: "_Seal", document: dict[str, Any], sensitive: frozenset[str]) -> dict[str, Any]:
        return {
            name: self._open(seal, name, value) if name in sensitive else value
            for name, value in document.items()
        }

    def _shown(self, seal: "_Seal", field: str, value: Any) -> Any:
        try:
            return self._open(seal, field, value)
        except VaultError:
            return UNREADABLE

    def _open(self, seal: "_Seal", field: str, value: Any) -> Any:
        """Decrypt one field. Raises VaultError."""
        if not _is_sealed(value):
            # not encrypted, because the value was stored before its field became sensitive
            return value
        ((mark, sealed),) = value.items()
        key_id, _, encoded = sealed.partition(":")
        if key_id not in self._keys:
            raise VaultError(f"{VARIABLE} lacks the key {key_id!r}; add it behind the current one")
        for bound_to in seal.bindings(field, mark):
            # A ValueError means that the stored value is not base64, or is too short to contain a
            # nonce.
            with contextlib.suppress(InvalidTag, ValueError):
                data = base64.b64decode(encoded)
                plain = self._keys[key_id].decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound_to)
                return msgspec.json.decode(plain)
        raise VaultError(
            f"{seal.root}.{field}, sealed with key {key_id!r}, was changed or belongs to another task or "
            "owner, or the key with this id was replaced; restore the row or the key, or submit it again"
        )


class _Seal(NamedTuple):
    """Identifies a stored document whose fields are encrypted or decrypted."""

    contract: Contract[Any, Any]
    #: Kind of the document: "params" or "result".
    root: str
    row: Row
    owner: int | None

    @property
    def sensitive(self) -> frozenset[str]:
        return self.contract.sensitive_params if self.root == "params" else self.contract.sensitive_result

    def bindings(self, field: str, mark: str) -> Iterator[bytes]:
        """Yield the associated data to which a field is bound: with the current name of the
        contract, then with each of its former names.
        """
        for name in (self.contract.name, *self.contract.former_names):
            if mark == BOUND:
                yield msgspec.json.encode([name, self.root, field, str(self.row), self.owner])
            else:
                yield f"{name}|{self.root}.{field}".encode()


def _shown_instead(document: Mapping[str, Any], sensitive: frozenset[str]) -> list[str]:
    """The sensitive fields that contain a placeholder. A client has sent back what the API had
    shown in place of the value.
    """
    return sorted(name for name in sensitive if document.get(name) in (MASK, UNREADABLE))


def _secrets_in(document: dict[str, Any], sensitive: frozenset[str]) -> tuple[str, ...]:
    """The secret values in the sensitive fields, longest first. In this order, a value that
    contains another one is hidden as a whole.
    """
    found = {text for name in sensitive & document.keys() for text in _leaves(document[name])}
    return tuple(sorted((t for t in found if len(t) >= SHORTEST_SECRET), key=len, reverse=True))


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for item in value.values():
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)
        case None | bool():
            return
        case _:
            yield str(value)


def _is_sealed(value: Any) -> TypeGuard[dict[str, str]]:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((mark, sealed),) = value.items()
    return mark in (BOUND, SEALED) and isinstance(sealed, str)


def _missing_for(contract: Contract[Any, Any]) -> SettingsError:
    return SettingsError(
        f"{VARIABLE} is missing, but {contract.name} has sensitive fields; write id:key, the key being "
        f"{KEY_BYTES} random bytes in base64"
    )


def _checked_id(key_id: str, known: Mapping[str, bytes]) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise SettingsError(f"{VARIABLE} must read id:key,id:key with ids of lower case letters and digits")
    if key_id in known:
        raise SettingsError(f"{VARIABLE} names the key {key_id!r} twice")
    return key_id


def _decoded(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:  # base64 raises binascii.Error, a subclass of ValueError
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{VARIABLE}: key {key_id!r} must be {KEY_BYTES} random bytes in base64")
    return key
