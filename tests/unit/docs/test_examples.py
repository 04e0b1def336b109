"""Tests that the example application does what the page about it says."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from examples.bodies.rates import fetch_rate
from examples.bodies.reports import refresh_rates
from examples.bodies.texts import count_words
from examples.contracts.rates import FETCH_RATE, FetchRate
from examples.contracts.reports import REFRESH_RATES, RefreshRates
from examples.contracts.texts import CountWords
from examples.gateways import RatesGateway
from shared.errors import ExpectedError, PermanentError, Retry
from shared.testing import run_inline
from tests.platform import ROOT

Answers = Callable[[str], None]


@pytest.fixture
async def service() -> AsyncIterator[tuple[RatesGateway, Answers]]:
    """A gateway, and a server that answers it with what the test chooses."""
    chosen = [""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {chosen[0]}".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = RatesGateway(f"http://127.0.0.1:{port}")
    yield gateway, lambda text: chosen.__setitem__(0, text)
    await gateway.close()
    server.close()
    await server.wait_closed()


async def fetched(gateway: RatesGateway) -> Any:
    return await run_inline(fetch_rate, FetchRate(currency="USD"), gateways={RatesGateway: gateway})


async def test_the_example_on_the_page_passes() -> None:
    page = (ROOT / "examples/README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    await namespace["test_words_are_counted"]()


async def test_an_empty_text_has_no_words() -> None:
    run = await run_inline(count_words, CountWords(text=" "))
    assert run.result is not None
    assert (run.result.words, run.result.most_common) == (0, None)


async def test_a_rate_is_fetched(service: tuple[RatesGateway, Answers]) -> None:
    gateway, answers = service
    answers('200 OK\r\nContent-Type: application/json\r\n\r\n{"rate": 1.08}')
    assert (await fetched(gateway)).result.rate == 1.08


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("503 Service Unavailable\r\n\r\n", ExpectedError),
        ("404 Not Found\r\n\r\n", PermanentError),
        ("", ExpectedError),
    ],
)
async def test_an_error_says_whether_it_passes(
    service: tuple[RatesGateway, Answers], answer: str, error: type[Exception]
) -> None:
    gateway, answers = service
    answers(answer)
    with pytest.raises(error):
        await fetched(gateway)


async def test_a_busy_service_says_when_to_come_back(service: tuple[RatesGateway, Answers]) -> None:
    gateway, answers = service
    answers("429 Too Many Requests\r\nRetry-After: 7\r\n\r\n")
    with pytest.raises(Retry) as asked:
        await fetched(gateway)
    assert asked.value.wait_s(datetime.now(UTC)) == 7


async def test_the_scheduled_report_submits_a_task_for_each_currency() -> None:
    (schedule,) = REFRESH_RATES.schedules
    assert isinstance(schedule.params, RefreshRates)
    run = await run_inline(refresh_rates, schedule.params)
    assert [(child.contract, child.params) for child in run.children] == [
        (FETCH_RATE, FetchRate(currency="USD")),
        (FETCH_RATE, FetchRate(currency="INR")),
        (FETCH_RATE, FetchRate(currency="GBP")),
    ]
    assert run.progress[-1].current == run.progress[-1].total == 3


async def test_a_canceled_report_submits_nothing() -> None:
    run = await run_inline(refresh_rates, RefreshRates(currencies=["USD"]), cancelled=True)
    assert run.result is not None
    assert (run.result.submitted, run.children) == (0, [])
