"""Encrypts sensitive fields before they reach a row, opens them for the body, masks them for other readers.

A sealed field lies in the row's document as `{"$sealed": "<key id>:<nonce and ciphertext, base64>"}`. It is
AES-256-GCM (NIST SP 800-38D) with contract and field as associated data, so that a ciphertext moved to
another field or another kind of task does not open.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeGuard

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.contracts.contract import Contract, P, R
from shared.errors import SettingsError, VaultError
from shared.telemetry.redaction import REDACTED

#: What a reader without the right sees.
MASK = REDACTED
SEALED = "$sealed"
VARIABLE = "OFTEN_VAULT_KEYS"
NONCE_BYTES, KEY_BYTES = 12, 32
#: Shorter texts occur everywhere by chance.
SHORTEST_SECRET = 3

#: The purpose from which the keys of `Vault.digests` are derived.
_DIGEST = b"often: digest of a submission"
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


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

    def seal_params(self, contract: Contract[P, Any], params: P) -> Stored:
        """Raises InvalidFields as `Contract.encode_params` does."""
        return self._seal(contract, "params", contract.encode_params(params), contract.sensitive_params)

    def seal_result(self, contract: Contract[Any, R], result: R) -> Stored:
        """Raises InvalidFields as `Contract.encode_result` does."""
        return self._seal(contract, "result", contract.encode_result(result), contract.sensitive_result)

    def seal_part(self, contract: Contract[Any, Any], text: str) -> Stored:
        """Parameters of which some are missing yet, as JSON."""
        return self._seal(contract, "params", text, contract.sensitive_params)

    def open_result(self, contract: Contract[Any, Any], text: str) -> Any:
        """A result as plain JSON values. Raises VaultError when it does not open."""
        return self._opened(contract, "result", msgspec.json.decode(text), contract.sensitive_result)

    def open_params(
        self,
        contract: Contract[P, Any],
        text: str,
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
        document = {**msgspec.json.decode(text), **(more or {})}
        if older and version is not None:
            # A field may have had another name, or have been sensitive only then.
            sealed = {name for name, value in document.items() if _is_sealed(value)}
            document = self._opened(contract, "params", document, contract.sensitive_params | sealed)
            document = contract.upcast(document, version)
        else:
            document = self._opened(contract, "params", document, contract.sensitive_params)
        return contract.check_params(document), _secrets_in(document, contract.sensitive_params)

    def read(self, contract: Contract[Any, Any] | None, root: str, text: str, *, unmask: bool) -> Any:
        """The document for an answer; `root` is params or result.

        Where the contract is gone, all that is sealed is masked for everybody.
        """
        document = msgspec.json.decode(text)
        if not isinstance(document, dict):
            return document
        if contract is None:
            return {name: MASK if _is_sealed(value) else value for name, value in document.items()}
        sensitive = contract.sensitive_params if root == "params" else contract.sensitive_result
        if unmask:
            return self._opened(contract, root, document, sensitive)
        return {name: MASK if name in sensitive else value for name, value in document.items()}

    def _seal(self, contract: Contract[Any, Any], root: str, text: str, sensitive: frozenset[str]) -> Stored:
        if not sensitive:
            return Stored(text, None)
        if self.current is None:
            raise _missing_for(contract)
        document = msgspec.json.decode(text)
        for name in sensitive & document.keys():
            nonce = os.urandom(NONCE_BYTES)
            plain = msgspec.json.encode(document[name])
            bound_to = _bound_to(contract.name, root, name)
            sealed = nonce + self._keys[self.current].encrypt(nonce, plain, bound_to)
            document[name] = {SEALED: f"{self.current}:{base64.b64encode(sealed).decode()}"}
        return Stored(msgspec.json.encode(document).decode(), self.current)

    def _opened(
        self, contract: Contract[Any, Any], root: str, document: dict[str, Any], sensitive: frozenset[str]
    ) -> dict[str, Any]:
        # A value that is not sealed was stored before its field became sensitive.
        return {
            name: self._open(value[SEALED], _bindings(contract, root, name))
            if name in sensitive and _is_sealed(value)
            else value
            for name, value in document.items()
        }

    def _open(self, sealed: str, bindings: Iterable[bytes]) -> Any:
        key_id, _, encoded = sealed.partition(":")
        if key_id not in self._keys:
            raise VaultError(f"{VARIABLE} lacks the key {key_id!r}; add it behind the current one")
        data = base64.b64decode(encoded)
        for bound_to in bindings:
            with contextlib.suppress(InvalidTag):
                plain = self._keys[key_id].decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound_to)
                return msgspec.json.decode(plain)
        raise VaultError(f"a field sealed with key {key_id!r} was changed, or the key is another one")


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
    return isinstance(value, dict) and value.keys() == {SEALED} and isinstance(value[SEALED], str)


def _missing_for(contract: Contract[Any, Any]) -> SettingsError:
    return SettingsError(
        f"{VARIABLE} is missing, but {contract.name} has sensitive fields; write id:key, the key being "
        f"{KEY_BYTES} random bytes in base64"
    )


def _bindings(contract: Contract[Any, Any], root: str, field: str) -> Iterator[bytes]:
    for name in (contract.name, *contract.former_names):
        yield _bound_to(name, root, field)


def _bound_to(name: str, root: str, field: str) -> bytes:
    return f"{name}|{root}.{field}".encode()


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
