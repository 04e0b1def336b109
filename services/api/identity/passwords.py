"""Says which passwords are too weak, and hashes the others with Argon2id in threads of its own."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

import argon2

from services.api.identity.common_passwords import COMMON
from shared.errors import FieldProblem, InvalidFields

#: A hash takes 64 MiB and up to four cores; more at once would only take memory.
THREADS = 2


def check_new(field: str, password: str, address: str) -> None:
    """Refuse what others guess first; lengths are the body's affair. Raises InvalidFields.

    Source: NIST SP 800-63B-4, 3.1.1.2: no rules of composition, but a list of refused ones.
    """
    guessed = password.casefold()
    if guessed in (address, address.partition("@")[0]):
        raise InvalidFields([FieldProblem(field, "must not be your email address or a part of it")])
    if guessed in COMMON:
        raise InvalidFields([FieldProblem(field, "is one of the most common passwords: choose another one")])


class Passwords:
    """Makes and checks hashes."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._nobody = self._hasher.hash(secrets.token_hex())

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def fits(self, password: str, stored: str | None) -> bool:
        """Compare with the stored hash; with none the work, and so the time, is the same."""
        checked = asyncio.get_running_loop().run_in_executor(
            self._threads, self._verify, stored or self._nobody, password
        )
        return await checked and stored is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except argon2.exceptions.VerificationError:
            return False

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
