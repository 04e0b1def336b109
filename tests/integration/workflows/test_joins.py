"""Tests of cases in which chords, groups and chains go wrong in other systems; see
docs/workflow_failures.md.
"""

import asyncio
import random
from contextlib import nullcontext
from typing import Any

import pytest

from services.worker.workflows import inputs
from services.worker.workflows.inputs import Inputs
from shared.errors import PermanentError
from shared.ledger.database import in_fresh_context
from shared.ledger.transitions import workflow as transitions
from shared.workflows import advance as advancing
from shared.workflows.shapes import chain, chord, group
from shared.workflows.workflow import ALWAYS, FAILED, Shape, Workflow
from tests.integration.workflows.crew import WAITING, Crew
from tests.integration.workflows.plays import (
    chord_of,
    end_all,
    hold_all,
    play,
    states,
    status,
    steps_of,
    submitter,
)
from tests.platform import Platform
from tests.sample_tasks import ADD, COUNT, INSTANT, REPORT, Nothing, Outcomes

RECORDERS, ADVANCERS = 3, 2


async def bodies(crew: Crew) -> int:
    return len(await crew.tasks("step = 'body'"))


async def record_all(crew: Crew, tasks: list[dict[str, Any]], chance: random.Random) -> None:
    """Record that all tasks succeeded, in random portions. Some portions are recorded twice."""
    while tasks:
        share = [tasks.pop() for _ in range(min(len(tasks), chance.randint(1, 9)))]
        for _ in range(chance.randint(1, 2)):
            await crew.end(share, ["success"] * len(share))


async def test_every_chord_of_100_begins_its_body_once_while_many_record_and_advance(
    platform: Platform, crew: Crew
) -> None:
    chance = random.Random(7)
    flows = [await submitter(platform).submit(chord_of(100)) for _ in range(3)]
    members = await hold_all(crew)
    chance.shuffle(members)
    shares = [members[number::RECORDERS] for number in range(RECORDERS)]
    recording = asyncio.gather(*(record_all(crew, share, chance) for share in shares))

    async def advance_meanwhile() -> None:
        while not recording.done():
            await advancing.advance(platform.database, flows)

    await asyncio.gather(recording, *(advance_meanwhile() for _ in range(ADVANCERS)))
    await crew.advance()
    assert await bodies(crew) == len(flows)
    await play(crew)
    assert [await status(platform, flow) for flow in flows] == ["success"] * len(flows)


@pytest.mark.parametrize("size", [0, 1])
async def test_the_body_of_a_small_chord_begins_once(platform: Platform, crew: Crew, size: int) -> None:
    workflow = await submitter(platform).submit(chord_of(size))
    await play(crew)
    assert (await bodies(crew), await status(platform, workflow)) == (1, "success")


async def test_results_are_in_order_and_of_their_own_chord_however_their_members_end(
    platform: Platform, crew: Crew
) -> None:
    for _ in range(2):
        await submitter(platform).submit(chord_of(20))
    members = await hold_all(crew)
    numbers = {task["id"]: 100 * (index >= 20) + task["member"] for index, task in enumerate(members)}
    random.Random(7).shuffle(members)
    for task in members:
        await crew.end([task], ["success"], result=f'{{"value": {numbers[task["id"]]}}}')
    await crew.advance()
    reader = Inputs(platform.database, {each.name: each for each in (COUNT, ADD)}, platform.vault)
    read = [await reader.read(body["workflow"], body["inputs"]) for body in await crew.tasks("step = 'body'")]
    assert [[each["value"] for each in values["values"]] for values in read] == [
        list(range(20)),
        list(range(100, 120)),
    ]


@pytest.mark.parametrize(("members", "refused"), [(2, False), (3, True)])
async def test_results_that_are_larger_than_one_task_may_read_are_refused_even_if_they_compress_well(
    platform: Platform, crew: Crew, monkeypatch: pytest.MonkeyPatch, members: int, refused: bool
) -> None:
    monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 1_000_000)
    await submitter(platform).submit(chord_of(members))
    await end_all(crew)
    await crew.advance()
    await platform.rows(
        "UPDATE task SET result = jsonb_build_object('value', repeat('x', 400000)) WHERE step = 'many'"
    )
    (stored,) = await platform.rows("SELECT max(pg_column_size(result)) AS bytes FROM task")
    assert stored["bytes"] < 10_000
    (body,) = await crew.tasks("step = 'body'")
    reader = Inputs(platform.database, {}, platform.vault)
    with pytest.raises(PermanentError, match="1,000,000 bytes") if refused else nullcontext():
        await reader.read(body["workflow"], body["inputs"])


async def test_a_member_that_is_retried_counts_once_it_has_ended(platform: Platform, crew: Crew) -> None:
    await submitter(platform).submit(chord_of(3))
    for outcome in ("retry", "pending"):
        held = await hold_all(crew)
        await crew.end(held[:1], [outcome])
        await crew.end(held[1:], ["success"] * len(held[1:]))
        await crew.advance()
        assert await bodies(crew) == 0
    await play(crew)
    assert await bodies(crew) == 1
    assert len(await crew.tasks("step = 'many'")) == 3


async def test_an_outcome_that_comes_from_a_former_claim_counts_nothing(
    platform: Platform, crew: Crew
) -> None:
    await submitter(platform).submit(chord_of(2))
    late, other = await hold_all(crew)
    await crew.end([other], ["success"])
    former = crew.worker
    await crew.die(crash_limit=9)
    await hold_all(crew)
    crew.worker, current = former, crew.worker
    await crew.end([late], ["success"])
    crew.worker = current
    await crew.advance()
    assert await bodies(crew) == 0
    await play(crew)
    assert await bodies(crew) == 1


@pytest.mark.parametrize(("limits", "ends"), [({}, "failure"), ({"at_least": 2}, "success")])
@pytest.mark.parametrize("loss", ["revoked", "crash_loop"])
async def test_a_chord_that_loses_a_member_ends(
    platform: Platform, crew: Crew, loss: str, limits: dict[str, Any], ends: str
) -> None:
    workflow = await submitter(platform).submit(chord_of(3, **limits))
    first = (await crew.tasks(WAITING))[0]
    if loss == "revoked":
        await crew.cancel(first)
    else:
        await crew.claim([first["id"]])
        await crew.die(crash_limit=1)
    await play(crew)
    assert await status(platform, workflow) == ends
    assert await bodies(crew) == (ends == "success")


def nested(flow: Workflow, depth: int) -> Shape:
    """A chord (tasks, then a body that gets their results) of a chain, a group, and `depth` levels
    of further such chords.
    """
    first, second, body = steps_of(flow, f"first_{depth}", f"second_{depth}", f"body_{depth}")
    side = flow.group(INSTANT, [Nothing()] * 2, name=f"side_{depth}")
    inner = [nested(flow, depth - 1)] if depth else []
    return chord(group(chain(first, second), side, *inner), body)


@pytest.mark.parametrize("lost", ["", "side_0", "second_2"])
async def test_nested_chains_groups_and_chords_begin_each_step_once_and_end(
    platform: Platform, crew: Crew, lost: str
) -> None:
    flow = Workflow("nested")
    nested(flow, 4)
    flow.on_failure(INSTANT, Nothing(), name="handler")
    workflow = await submitter(platform).submit(flow)
    await play(crew, **{lost: "failure"})
    found = await states(crew, workflow)
    depth = int(lost[-1]) if lost else 5
    assert [found[f"body_{number}"] for number in range(5)] == [
        "skipped" if number >= depth else "success" for number in range(5)
    ]
    assert (found["handler"], await status(platform, workflow)) == (
        ("success", "failure") if lost else ("skipped", "success")
    )
    assert len(await crew.tasks("step = 'handler'")) == bool(lost)


async def test_groups_follow_groups_and_a_failed_one_is_reported_once(platform: Platform, crew: Crew) -> None:
    flow = Workflow("groups")
    first, second, third = (
        flow.group(INSTANT, [Nothing()] * 3, name=name) for name in ("first", "second", "third")
    )
    chain(first, second, third)
    told = Outcomes(outcomes=third.outcomes)
    flow.step(REPORT, told, name="repair", after=[first, second, third], when=FAILED)
    flow.step(REPORT, told, name="clean", after=[third], when=ALWAYS)
    workflow = await submitter(platform).submit(flow)
    await play(crew, second="failure")
    assert await states(crew, workflow) == {
        "first": "success",
        "second": "failure",
        "third": "skipped",
        "repair": "success",
        "clean": "success",
    }
    assert len(await crew.tasks("step IN ('repair', 'clean')")) == 2


async def test_ends_are_recorded_while_another_process_holds_their_workflows(
    platform: Platform, crew: Crew
) -> None:
    flows = [await submitter(platform).submit(chord_of(2)) for _ in range(2)]
    held = await hold_all(crew)
    async with platform.database.transaction():
        await platform.rows(transitions.LOCK, id=sorted(flows))
        shares = (held[::2], held[1::2])
        await asyncio.gather(*(in_fresh_context(crew.end(each, ["success"] * 2)) for each in shares))
        assert (await in_fresh_context(crew.advance())).left == sorted(flows)
    await play(crew)
    assert await bodies(crew) == 2
