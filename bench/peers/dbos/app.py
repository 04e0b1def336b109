"""The DBOS application that is measured. DBOS stores workflows, the results of their steps, and
queues as rows in Postgres.
"""

import os

from dbos import DBOS

from bench import tally

#: The two DBOS queues of the benchmark: one for chains and for the members of chords, and one for
#: the workflows that run as the bodies of chords.
QUEUE, JOINS = "bench", "joins"

DBOS(
    config={
        "name": "bench",
        "system_database_url": f"postgresql{os.environ['BENCH_DATABASE_URL'].removeprefix('postgres')}",
        "application_version": "bench",
        # A DBOS process takes over unfinished work with its own executor id, so each process gets a
        # different id.
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
    """A member of a chord. It is a workflow without steps, so that DBOS records it only once."""
    tally.began()
    tally.ended()


@DBOS.workflow()
def join(members: list[str]) -> None:
    """The body of a chord, which waits for the results of all members."""
    tally.began()
    for workflow_id in members:
        DBOS.retrieve_workflow(workflow_id).get_result(polling_interval_sec=0.1)
    tally.ended()
