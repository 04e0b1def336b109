"""Hashes passwords with Argon2id, in threads of its own."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

import argon2

#: A hash takes 64 MiB and up to four cores; more at once would only take memory.
THREADS = 2


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
