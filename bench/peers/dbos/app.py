"""DBOS over Postgres: workflows, the results of their steps and their queues are rows there."""

import os

from dbos import DBOS

from bench import tally

#: Queue of chains and members, and of the workflows that join members.
QUEUE, JOINS = "bench", "joins"

DBOS(
    config={
        "name": "bench",
        "system_database_url": f"postgresql{os.environ['BENCH_DATABASE_URL'].removeprefix('postgres')}",
        "application_version": "bench",
        # Each process needs an id of its own: one that starts takes over what its id had begun.
        "executor_id": str(os.getpid()),
        "log_level": "WARNING",
    }
)


@DBOS.step()
def noop() -> None:
    tally.began()
    tally.ended()


@DBOS.workflow()
def chain(steps: int) -> None:
    for _ in range(steps):
        noop()


@DBOS.workflow()
def member() -> None:
    """A task of a chord. As a workflow without a step it is recorded once."""
    tally.began()
    tally.ended()


@DBOS.workflow()
def join(members: list[str]) -> None:
    """The body of a chord: it has the results of all members."""
    tally.began()
    for workflow_id in members:
        DBOS.retrieve_workflow(workflow_id).get_result(polling_interval_sec=0.1)
    tally.ended()
