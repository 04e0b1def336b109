"""Helpers for tests that put ids into lanes of a real Valkey and fetch them."""

from uuid import UUID, uuid4

from shared.transport.queues import Address, Queues

WORKER = uuid4()


def addresses(count: int, queue: str = "email", priority: int = 5, rescued: bool = False) -> list[Address]:
    return [Address(uuid4(), queue, priority, rescued) for _ in range(count)]


async def fetch(
    queues: Queues, wanted: int, *names: str, served: int = 0, idle: bool = False, wait_s: float = 0.0
) -> list[UUID]:
    got = await queues.fetch(
        WORKER, names or ("email",), wanted=wanted, served=served, idle=idle, wait_s=wait_s
    )
    return got.ids
