"""The Celery application that is measured, with Redis as its broker.

BENCH_RESULTS selects where results are stored: in the `database`, in `redis`, or nowhere.
"""

import os

from celery import Celery

from bench import doorbell, tally

RESULTS = os.environ.get("BENCH_RESULTS")

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
if RESULTS == "database":
    app.conf.result_backend = (
        f"db+postgresql+psycopg{os.environ['BENCH_DATABASE_URL'].removeprefix('postgres')}"
    )
elif RESULTS == "redis":
    app.conf.result_backend = os.environ["BENCH_REDIS_URL"]
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=not RESULTS,
    worker_prefetch_multiplier=int(os.environ["BENCH_PREFETCH"]),
    worker_enable_remote_control=False,
    worker_disable_rate_limits=True,
)


@app.task
def noop() -> None:
    tally.began()
    tally.ended()


@app.task
def gather(results: list[None]) -> None:
    """The body of a chord: it runs after all members and gets their results."""
    tally.began()
    tally.ended()


@app.task
def ring(token: int) -> None:
    doorbell.ring(token)
