"""Measures the rate of POST requests that submit one task, compared with a handler that does
everything except submitting.
"""

from collections.abc import Sequence

from bench import constant_api, http_load
from bench.api import Api
from bench.figure import Benchmark, Figure, Measured, Round
from bench.http_load import CONNECTIONS, Load
from bench.stage import Stage
from tests.platform import Platform

SECONDS = 5.0

FIGURE = Figure(
    "POST one task",
    "requests/s of POST /api/v1/tasks, one API process ÷ of a constant handler behind the same "
    f"authentication and validation, {CONNECTIONS} connections",
    required=0.35,
    target=0.5,
)

_BODY = b'{"name":"system.health_check","params":{}}'


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure both handlers. No worker runs, so only the load generator, the API, Postgres and
    Redis share the cores.
    """
    measured = Measured(FIGURE, "requests/s")
    async with stage.platform() as platform:
        ours = await _load(platform, "services.api", "/api/v1/tasks")
        theirs = await _load(platform, constant_api.__name__, constant_api.PATH)
        for _ in range(rounds):
            pair = [await http_load.measure(load) for load in (ours, theirs)]
            measured.rounds.append(Round(*(rate.per_s for rate in pair)))
    return [measured]


async def _load(platform: Platform, module: str, path: str) -> Load:
    """Start an API process for a measurement. Returns the load that repeats a POST to this path."""
    api = Api(platform, module)
    await api.start()
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{api.port}",
        f"Authorization: Bearer {await api.sign_up()}",
        "Content-Type: application/json",
        f"Content-Length: {len(_BODY)}",
        "",
        "",
    ]
    return Load("127.0.0.1", api.port, "\r\n".join(lines).encode() + _BODY, seconds=SECONDS)


BENCHMARK = Benchmark("post", measure, rounds=7)
