"""Hashes and checks passwords with Argon2id, in threads of its own behind a bounded queue."""

import asyncio
import contextlib
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import argon2

from services.api.identity.sign_in_refusals import SignInBusy, TooManySignIns

T = TypeVar("T")

#: A hash takes 64 MiB and up to four cores; more at once would only take memory.
THREADS: Final = 2
#: Requests that may hash or wait for it. A hash takes 0.2 s of CPU, so the last one waits 2 s on two cores.
MAX_PLACES: Final = 16
#: The same limit for one network, so that one network cannot fill the queue.
MAX_PLACES_OF_ONE: Final = 6
#: Other requests come first when the CPU is scarce.
NICENESS: Final = 10


class Passwords:
    """Makes and checks hashes."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2", initializer=_be_nice)
        self._nobody = self._hasher.hash(secrets.token_hex())
        self._places: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, network: str) -> Iterator[None]:
        """A place in the queue, for a request from this network. Raises SignInBusy or TooManySignIns."""
        if self._places[network] >= MAX_PLACES_OF_ONE:
            raise TooManySignIns
        if self._places.total() >= MAX_PLACES:
            raise SignInBusy
        self._places[network] += 1
        try:
            yield
        finally:
            self._places[network] -= 1
            self._places += Counter()  # forgets the networks without a place

    async def hash(self, password: str) -> str:
        return await self._in_thread(self._hasher.hash, password)

    async def fits(self, password: str, stored: str | None) -> bool:
        """Compare with the stored hash; with none the work, and so the time, is the same."""
        return await self._in_thread(self._verify, stored or self._nobody, password) and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """True for a hash that was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(stored)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _be_nice() -> None:
    """On Linux a niceness belongs to a thread; the lanes that Argon2 starts from it inherit it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
