"""Tests of reading the bodies of answers piece by piece, as providers send them."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from services.worker.hotel.gateways import answer_body
from services.worker.hotel.gateways.answer_body import MAX_BYTES, MAX_REASON_BYTES, BadBody

TEXT = b'{"hotels": "' + b"Sea View " * 5_000 + b'"}'


class Sent(httpx.AsyncByteStream):
    """The body of an answer, which arrives in pieces of equal size."""

    def __init__(self, body: bytes, size: int) -> None:
        self._pieces = [body[i : i + size] for i in range(0, len(body), size)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def answered(body: bytes, encoding: str = "", size: int = 1_000) -> httpx.Response:
    headers = {"content-encoding": encoding, "x-kept": "1"}
    request = httpx.Request("GET", "https://api.example.com")
    return httpx.Response(200, headers=headers, stream=Sent(body, size), request=request)


def soon() -> float:
    return asyncio.get_running_loop().time() + 10


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
async def test_gzip_is_unpacked(size: int) -> None:
    response = answered(gzip.compress(TEXT), "gzip", size)
    read = answer_body.as_read(response, await answer_body.whole(response, soon()))
    assert read.content == TEXT
    assert (read.headers["x-kept"], read.headers.get("content-encoding")) == ("1", None)
    assert await answer_body.whole(answered(TEXT, "identity", size), soon()) == TEXT


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_the_limit_counts_what_is_sent_and_what_it_unpacks_to(encoding: str) -> None:
    for size, fits in ((MAX_BYTES, True), (MAX_BYTES + 1, False)):
        body = gzip.compress(bytes(size)) if encoding else bytes(size)
        reading = answer_body.whole(answered(body, encoding, 2**16), soon())
        if fits:
            assert len(await reading) == size
        else:
            with pytest.raises(BadBody, match="more than 8388608 bytes"):
                await reading
    endless_names = gzip.compress(b"")[:3] + b"\x08" + bytes(6) + b"x" * (MAX_BYTES + 1)
    with pytest.raises(BadBody, match="more than 8388608 bytes"):
        await answer_body.whole(answered(endless_names, "gzip", 2**16), soon())


async def test_what_is_no_gzip_is_said_to_be_none() -> None:
    with pytest.raises(BadBody, match="header says gzip, but its body is not gzip"):
        await answer_body.whole(answered(TEXT, "gzip"), soon())


async def test_the_beginning_never_fails() -> None:
    cases = ((TEXT, "gzip"), (TEXT, "br"), (gzip.compress(bytes(10**9 // 100)), "gzip"), (b"why", ""))
    for body, encoding in cases:
        read = await answer_body.beginning(answered(body, encoding), soon())
        assert len(read) <= MAX_REASON_BYTES
    assert read == b"why"
