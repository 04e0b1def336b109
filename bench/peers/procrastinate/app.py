"""The Procrastinate application that is measured. Its queue is a table in Postgres, which also
stores the outcome of each job.
"""

import os

from procrastinate import App, PsycopgConnector

from bench import tally

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_DATABASE_URL"]))


@app.task(queue="bench")
async def noop() -> None:
    tally.began()
    tally.ended()
