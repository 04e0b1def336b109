"""Searches the tasks through the API from a separate process, with several readers at once.

In the process that measures submissions, each answer to a reader would delay the measurement.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec

from tests.platform import ROOT

READERS = 12
#: Queries of searches that no index answers. Each search runs until its time limit.
SEARCHES = (
    "tasks?params.template=none",
    "tasks?status=failure&params.to=nobody@often.example",
    "tasks?queue=email&params.user_id=-1",
)


class Target(msgspec.Struct):
    """The API to read from: the URL of its first version, and the headers of each request."""

    url: str
    headers: dict[str, str]


@asynccontextmanager
async def readers(target: Target) -> AsyncIterator[list[int]]:
    """Let all readers search inside this context, from a second after its start.

    Yields a list that contains, after the context, the number of answers. Raises RuntimeError with
    the output of the other process if a reader got an unexpected answer.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(target) + b"\n")
    await process.stdout.readline()
    await asyncio.sleep(1)
    answers: list[int] = []
    try:
        yield answers
    finally:
        # An empty input, because without one Python 3.11 does not close the pipe.
        answered, errors = await process.communicate(b"")
        if process.returncode:
            raise RuntimeError(errors.decode())
    answers.append(int(answered))


async def _read(target: Target) -> int:
    """Search with all readers until standard input is closed. Returns the number of answers."""
    answers = 0
    stopping = asyncio.Event()

    async def read(http: httpx.AsyncClient, number: int) -> None:
        nonlocal answers
        while not stopping.is_set():
            answer = await http.get(SEARCHES[number % len(SEARCHES)])
            assert answer.status_code in {200, 504}, answer.text
            answers += 1

    async with (
        httpx.AsyncClient(base_url=target.url, headers=target.headers, trust_env=False, timeout=60) as http,
        asyncio.TaskGroup() as group,
    ):
        for number in range(READERS):
            group.create_task(read(http, number))
        print(flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
        stopping.set()
    return answers


def main() -> None:
    target = msgspec.json.decode(sys.stdin.buffer.readline(), type=Target)
    print(asyncio.run(_read(target)))


if __name__ == "__main__":
    main()
