"""Celery over Redis. With BENCH_RESULTS set, results go to the database."""

import os

from celery import Celery

from bench import doorbell, tally

RESULTS = "BENCH_RESULTS" in os.environ

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
if RESULTS:
    app.conf.result_backend = (
        f"db+postgresql+psycopg{os.environ['BENCH_DATABASE_URL'].removeprefix('postgres')}"
    )
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
def ring(token: int) -> None:
    doorbell.ring(token)
