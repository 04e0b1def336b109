"""Hashes and checks passwords with Argon2id, in separate threads behind a bounded queue."""

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

#: Number of threads that hash passwords. One hash takes 64 MiB and up to four cores, so more
#: threads would only use more memory.
THREADS: Final = 2
#: Maximum number of requests that are hashing a password or waiting to do so. A hash takes 0.2 s of
#: CPU, so the last request waits 2 s on two cores.
MAX_PLACES: Final = 16
#: Maximum number of requests from one network that are hashing a password or waiting to do so, so
#: that no network can fill the queue alone.
MAX_PLACES_OF_ONE: Final = 6
#: The niceness of the hashing threads. It lowers their CPU priority, so that other requests come
#: first when the CPU is busy.
NICENESS: Final = 10


class Passwords:
    """Hashes passwords and checks them against stored hashes."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2", initializer=_be_nice)
        self._nobody = self._hasher.hash(secrets.token_hex())
        self._places: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, network: str) -> Iterator[None]:
        """Hold a place in the hashing queue for a request from this network while the context
        lasts. Raises SignInBusy or TooManySignIns.
        """
        if self._places[network] >= MAX_PLACES_OF_ONE:
            raise TooManySignIns
        if self._places.total() >= MAX_PLACES:
            raise SignInBusy
        self._places[network] += 1
        try:
            yield
        finally:
            self._places[network] -= 1
            self._places += Counter()  # Drops networks that no longer hold a place in the queue

    async def hash(self, password: str) -> str:
        return await self._in_thread(self._hasher.hash, password)

    async def fits(self, password: str, stored: str | None) -> bool:
        """Compare a password with the stored hash. If there is no hash, because the account does
        not exist, the comparison fails after the same work and time.
        """
        return await self._in_thread(self._verify, stored or self._nobody, password) and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """True if the hash was created with other parameters than the current ones."""
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
    """Lower the CPU priority of the current thread. On Linux, the threads that Argon2 starts from
    this thread inherit its niceness.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
