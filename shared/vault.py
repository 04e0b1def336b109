"""Encrypts sensitive fields before they reach a row, opens them for the body, masks them for other readers.

A sealed field is stored in the row's document as `{"$bound": "<key id>:<nonce and ciphertext, base64>"}`. It
is AES-256-GCM (NIST SP 800-38D). Contract, field, row and owner are associated data, so a ciphertext that was
moved to another field, task or owner does not open.

Release 0.2 wrote `$sealed`, without row and owner. That form still opens, because schedules keep it until
they are changed; docs/decisions/0024 says when it goes.
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
from shared.errors import SettingsError, VaultError
from shared.telemetry.redaction import REDACTED

#: What a reader without the right sees.
MASK = REDACTED
#: A reader with the right sees this for a field that does not open: its key is gone, or it was moved.
UNREADABLE = "[unreadable]"
#: Marks a ciphertext that is bound to its row and owner.
BOUND = "$bound"
#: Marks a ciphertext of release 0.2, which is bound to contract and field only.
SEALED = "$sealed"
VARIABLE = "OFTEN_VAULT_KEYS"
NONCE_BYTES, KEY_BYTES = 12, 32
#: Shorter texts occur everywhere by chance.
SHORTEST_SECRET = 3

#: The purpose from which the keys of `Vault.digests` are derived.
_DIGEST = b"often: digest of a submission"
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

#: The row that a sealed field belongs to: the id of a task, the name of a schedule, or see `params_row`.
Row = UUID | str


def params_row(task: UUID, workflow: UUID | None, step: str | None, member: int | None) -> Row:
    """What the parameters of a task are bound to: in a workflow they are sealed before the task has an id."""
    return task if workflow is None else step_row(workflow, step, member)


def step_row(workflow: UUID, step: str | None, member: int | None) -> str:
    """A member of a step; None for a single task."""
    return f"workflow {workflow} {step} {member or 0}"


class Stored(NamedTuple):
    """A document as a row keeps it."""

    #: JSON; sensitive fields are sealed.
    text: str
    #: The key that sealed them; None when there was nothing to seal.
    key_id: str | None


class Vault:
    """Keys by id; the first one seals, all of them open."""

    def __init__(self, keys: Mapping[str, bytes] | None = None) -> None:
        self._keys = {key_id: AESGCM(key) for key_id, key in (keys or {}).items()}
        # Keys of their own, so that no key serves two algorithms.
        self._digest_keys = [hmac.digest(key, _DIGEST, "sha256") for key in (keys or {}).values()]
        self.current = next(iter(self._keys), None)

    @classmethod
    def from_setting(cls, text: str) -> Self:
        """Read `id:base64,id:base64`, newest first. Raises SettingsError."""
        keys: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            key_id, _, encoded = entry.partition(":")
            keys[_checked_id(key_id, keys)] = _decoded(key_id, encoded)
        return cls(keys)

    def require(self, contracts: Iterable[Contract[Any, Any]]) -> None:
        """Raises SettingsError when one of them has sensitive fields and there is no key."""
        for contract in contracts:
            if self.current is None and (contract.sensitive_params or contract.sensitive_result):
                raise _missing_for(contract)

    def digests(self, data: bytes) -> tuple[bytes, ...]:
        """Digests by which equal data is recognized: under the current key, the others, and none.

        They are keyed, because a sensitive value can be guessed from a plain hash. Without keys there are no
        sensitive fields, and the plain hash is the only one.
        """
        keyed = [hmac.digest(key, data, "sha256") for key in self._digest_keys]
        return (*keyed, hashlib.sha256(data).digest())

    def seal_params(self, contract: Contract[P, Any], params: P, row: Row, owner: int | None) -> Stored:
        """Raises InvalidFields as `Contract.encode_params` does."""
        return self.seal_encoded(contract, contract.encode_params(params), row, owner)

    def seal_encoded(self, contract: Contract[Any, Any], text: str, row: Row, owner: int | None) -> Stored:
        """Seal parameters that `Contract.encode_params` has written."""
        return self._seal(_Seal(contract, "params", row, owner), text)

    def seal_result(self, contract: Contract[Any, R], result: R, row: Row, owner: int | None) -> Stored:
        """Raises InvalidFields as `Contract.encode_result` does."""
        return self._seal(_Seal(contract, "result", row, owner), contract.encode_result(result))

    def open_result(self, contract: Contract[Any, Any], text: str, row: Row, owner: int | None) -> Any:
        """A result as plain JSON values. Raises VaultError when it does not open."""
        seal = _Seal(contract, "result", row, owner)
        return self._opened(seal, msgspec.json.decode(text), contract.sensitive_result)

    def open_fields(
        self, contract: Contract[Any, Any], params: Mapping[str, Any], row: Row, owner: int | None
    ) -> dict[str, Any]:
        """Stored parameters, or some of them, as plain JSON values. Raises VaultError."""
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
        """The parameters, and every text and number in their sensitive fields, for `redaction`.

        `version` is that of the contract under which they were stored; None: the present one. `more` are
        parameters that are not stored with them. Raises InvalidFields when the document does not fit the
        contract, VaultError when it does not open.
        """
        older = version is not None and version < contract.version
        if not contract.sensitive_params and not older and not more:
            return contract.decode_params(text), ()
        document, seal = {**msgspec.json.decode(text), **(more or {})}, _Seal(contract, "params", row, owner)
        if older and version is not None:
            # A field may have had another name, or have been sensitive only then.
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
        """The document for an answer; `root` is params or result.

        A field that does not open is shown as unreadable, and hides nothing else. Where the contract is gone,
        all that is sealed is masked for everybody.
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
        """Raises VaultError."""
        if not _is_sealed(value):
            return value  # stored before its field became sensitive
        ((mark, sealed),) = value.items()
        key_id, _, encoded = sealed.partition(":")
        if key_id not in self._keys:
            raise VaultError(f"{VARIABLE} lacks the key {key_id!r}; add it behind the current one")
        for bound_to in seal.bindings(field, mark):
            # ValueError: it is no base64, or too short for a nonce.
            with contextlib.suppress(InvalidTag, ValueError):
                data = base64.b64decode(encoded)
                plain = self._keys[key_id].decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound_to)
                return msgspec.json.decode(plain)
        raise VaultError(
            f"{seal.root}.{field}, sealed with key {key_id!r}, was changed or belongs to another task or "
            "owner, or the key is another one; restore the row, or submit it again"
        )


class _Seal(NamedTuple):
    """Whose fields are sealed or opened."""

    contract: Contract[Any, Any]
    #: params or result.
    root: str
    row: Row
    owner: int | None

    @property
    def sensitive(self) -> frozenset[str]:
        return self.contract.sensitive_params if self.root == "params" else self.contract.sensitive_result

    def bindings(self, field: str, mark: str) -> Iterator[bytes]:
        """Associated data: under the contract's name, then under its former ones."""
        for name in (self.contract.name, *self.contract.former_names):
            if mark == BOUND:
                yield msgspec.json.encode([name, self.root, field, str(self.row), self.owner])
            else:
                yield f"{name}|{self.root}.{field}".encode()


def _secrets_in(document: dict[str, Any], sensitive: frozenset[str]) -> tuple[str, ...]:
    """Longest first, so that one that contains another goes as a whole."""
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
    except ValueError:  # also binascii.Error
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{VARIABLE}: key {key_id!r} must be {KEY_BYTES} random bytes in base64")
    return key
