"""Tests that a workflow continues quickly although its worker dies after recording the end of a
task and before advancing the workflow.
"""

import itertools

from shared.workflows.shapes import chain
from shared.workflows.workflow import Workflow
from tests.eventually import eventually
from tests.integration.workflows.plays import submitter
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

#: Seconds within which the next step must be sent. The objective of the design is half of that.
LIMIT_S = 1.0
STEPS = ("first", "second", "third", "fourth")

#: SQL that returns the seconds between the end of one step and the sending of another. Its
#: parameters are the names of both steps.
SENT_AFTER = """
    SELECT extract(epoch FROM clock_timestamp() - before.completed_at)::float8 AS seconds
    FROM task AS before, task AS t WHERE before.step = {} AND t.step = {} AND t.sent_at IS NOT NULL
"""


async def test_the_next_step_is_sent_within_a_second_of_a_death_between_record_and_advance(
    platform: Platform,
) -> None:
    await platform.start_scheduler()
    flow = Workflow("chain")
    chain(*(flow.step(INSTANT, Nothing(), name=name) for name in STEPS))
    await submitter(platform).submit(flow)
    took_s = []
    for before, name in itertools.pairwise(STEPS):
        worker = platform.start("tests.faults.dying_advancer")
        row = await eventually(lambda names=(before, name): platform.rows(SENT_AFTER, *names))  # type: ignore[misc]
        assert await eventually(worker.poll)
        took_s.append(row[0]["seconds"])
    assert max(took_s) <= LIMIT_S, took_s
