"""Tests that each mode of a workflow's retry starts the right steps again, and no others."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.workflows.retry import Choice, Handlers, Mode, choose, choose_for_task, handlers_that_ran
from shared.workflows.states import Ended, OnFailure, Rule, State, Step
from tests.unit.shared.workflows.played import FAILURE, REVOKED, SUCCESS, Played
from tests.unit.shared.workflows.test_graph import step, workflows

#: A payment workflow: a parallel step, a handler for its failure, and a step that always runs.
CHAIN = [
    step("check", sink=False),
    step("charge", "check", size=3, sink=False),
    step("receipt", "charge"),
    step("report", "check"),
    step("refund", "charge", rule=Rule.FAILED),
    step("clean", "report", rule=Rule.ALWAYS),
]


def declined() -> Played:
    played = Played(CHAIN)
    played.end(check=SUCCESS)
    for status in (SUCCESS, FAILURE, REVOKED):
        played.end(charge=status)
    played.end(report=SUCCESS)
    played.end(refund=SUCCESS, clean=SUCCESS)
    assert played.states()["receipt"] is State.SKIPPED
    assert played.flow.status == "failure"
    return played


def chosen(played: Played, mode: Mode, start: str | None = None, handlers: Handlers | None = None) -> Choice:
    return choose(played.steps, mode, start, handlers)


@pytest.mark.parametrize(
    ("mode", "start", "handlers", "repeated", "mended", "tasks"),
    [
        (Mode.FAILED, None, Handlers.KEEP, (), ("charge",), 2),
        (Mode.FAILED, None, Handlers.AGAIN, ("refund",), ("charge",), 3),
        (Mode.DOWNSTREAM, None, Handlers.KEEP, (), ("charge",), 2),
        (Mode.FROM, "charge", Handlers.KEEP, ("charge",), (), 3),
        (Mode.FROM, "check", Handlers.KEEP, ("check", "charge", "report"), (), 5),
        (Mode.FROM, "report", Handlers.AGAIN, ("report", "clean"), (), 2),
        (Mode.FROM, "refund", Handlers.KEEP, ("refund",), (), 1),
        (Mode.ALL, None, Handlers.KEEP, ("check", "charge", "report"), (), 5),
        (Mode.ALL, None, Handlers.AGAIN, ("check", "charge", "report", "refund", "clean"), (), 7),
    ],
)
def test_a_mode_chooses_what_runs_again(
    mode: Mode,
    start: str | None,
    handlers: Handlers,
    repeated: tuple[str, ...],
    mended: tuple[str, ...],
    tasks: int,
) -> None:
    choice = chosen(declined(), mode, start, handlers)
    assert (choice.repeated, choice.mended, choice.tasks) == (repeated, mended, tasks)
    skipped = () if start in ("report", "refund") else ("receipt",)
    assert choice.waiting == skipped


def test_downstream_repeats_what_succeeded_below_a_failure() -> None:
    after = step("after", "a", "b", rule=Rule.AT_LEAST, k=1, sink=False)
    played = Played([step("a", sink=False), step("b", sink=False), after, step("last", "after")])
    played.end(a=FAILURE, b=SUCCESS)
    played.end(after=SUCCESS)
    played.end(last=FAILURE)
    assert chosen(played, Mode.FAILED).mended == ("a", "last")
    choice = chosen(played, Mode.DOWNSTREAM)
    assert (choice.mended, choice.repeated) == (("a",), ("after", "last"))


def test_what_has_not_failed_leaves_nothing_to_choose() -> None:
    played = Played([step("a"), step("repair", "a", rule=Rule.FAILED)])
    played.end(a=SUCCESS)
    assert chosen(played, Mode.FAILED).steps == chosen(played, Mode.DOWNSTREAM).steps == ()


def test_a_canceled_workflow_lets_skipped_steps_wait_again() -> None:
    played = Played([step("a", sink=False), step("b", "a")])
    played.news(cancels=1)
    played.end(a=SUCCESS)
    assert played.flow.status == "revoked"
    assert played.again(chosen(played, Mode.FAILED)).released == ("b",)
    played.end(b=SUCCESS)
    assert played.flow.status == "success"


def test_a_step_whose_members_still_run_cannot_be_repeated_but_mended() -> None:
    played = Played([step("scan", size=3)])
    played.end(scan=FAILURE)
    assert chosen(played, Mode.ALL).unfinished == ("scan",)
    choice = chosen(played, Mode.FAILED)
    assert (choice.mended, choice.unfinished, choice.tasks) == (("scan",), (), 1)
    played.again(choice)
    assert played.steps["scan"].state is State.RUNNING
    assert len(played.open) == 3


def test_a_step_below_waits_until_what_it_needs_has_ended_again() -> None:
    played = declined()
    made = played.again(chosen(played, Mode.FROM, "check", Handlers.KEEP))
    assert made.repeated == ("check",)
    assert played.states()["charge"] is State.WAITING
    assert played.end(check=SUCCESS).repeated == ("charge", "report")
    for _ in range(3):
        played.end(charge=SUCCESS)
    played.end(report=SUCCESS, receipt=SUCCESS)
    assert played.flow.status == "success"
    assert played.runs["refund", 0] == played.runs["clean", 0] == 1


def test_handlers_are_judged_again_and_run_where_their_rule_says_so() -> None:
    played = declined()
    assert handlers_that_ran(played.steps, but="refund") == ["clean"]
    made = played.again(chosen(played, Mode.FAILED, None, Handlers.AGAIN))
    assert made.repeated == ()
    assert played.states()["refund"] is State.WAITING, "the charge has not ended again"
    played.end(charge=FAILURE)
    assert played.steps["refund"].state is State.RUNNING
    played.end(refund=SUCCESS)
    assert played.states()["refund"] is State.SUCCESS
    assert played.runs["clean", 0] == 1, "nothing above it runs again"


def test_a_step_that_waits_again_may_be_skipped() -> None:
    played = declined()
    played.again(chosen(played, Mode.FROM, "check", Handlers.AGAIN))
    played.end(check=FAILURE)
    states = played.states()
    assert [states[name] for name in ("charge", "report", "receipt", "refund")] == [State.SKIPPED] * 4
    assert (states["clean"], played.flow.losses) == (State.RUNNING, 2)
    played.end(clean=SUCCESS)
    assert played.again(chosen(played, Mode.FAILED, None, Handlers.KEEP)).released == ()
    assert played.end(check=SUCCESS).repeated == ("charge", "report")


def test_a_failure_that_stopped_the_workflow_before_does_not_stop_its_next_run() -> None:
    played = Played([step("a", sink=False), step("b", "a")], on_failure=OnFailure.STOP)
    played.end(a=FAILURE)
    assert played.flow.stopped
    played.again(chosen(played, Mode.FROM, "a"))
    assert played.end(a=SUCCESS).released == ("b",)


def test_an_end_that_arrives_with_the_retry_of_its_step_belongs_to_the_former_run() -> None:
    played = Played([step("a", sink=False), step("b", "a")], on_failure=OnFailure.STOP)
    played.open.clear()
    made = played.news(ended={"a": Ended(failed=1)}, repeated=["a"])
    assert (made.repeated, played.flow.stopped, played.steps["a"].failed) == (("a",), False, 0)
    assert played.end(a=SUCCESS).released == ("b",)


def test_a_task_that_is_retried_judges_handlers_below_it_again() -> None:
    played = declined()
    choice = choose_for_task(played.steps, "charge", Handlers.AGAIN)
    assert (choice.repeated, choice.mended, choice.waiting) == (("refund",), (), ("receipt",))
    assert choose_for_task(played.steps, "charge", Handlers.KEEP).repeated == ()


@given(
    drawn=workflows(),
    mode=st.sampled_from(Mode),
    handlers=st.sampled_from(Handlers),
    chance=st.randoms(use_true_random=False),
    orders=st.tuples(st.integers(), st.integers()),
)
def test_a_retry_runs_what_it_chose_and_ends_the_same_in_any_order(
    drawn: tuple[list[Step], dict[str, list[str]]],
    mode: Mode,
    handlers: Handlers,
    chance: random.Random,
    orders: tuple[int, int],
) -> None:
    steps, outcomes = drawn
    later = {name: chance.sample(each, len(each)) for name, each in outcomes.items()}
    start = chance.choice(steps).name if mode is Mode.FROM else None
    ends = []
    for seed in orders:
        played = Played(steps)
        played.run(outcomes, random.Random(orders[0]))
        before, ran = dict(played.steps), dict(played.runs)
        lost = {member for member, status in played.ended.items() if status != SUCCESS}
        choice = choose(played.steps, mode, start, handlers)
        assert not choice.unfinished, "everything has ended"
        played.again(choice)
        played.run(later, random.Random(seed))
        assert played.flow.open_steps == sum(each.open for each in played.steps.values()) == 0
        assert played.flow.losses == sum(each.is_loss for each in played.steps.values())
        for name in played.steps.keys() - set(choice.steps):
            if before[name].state is not State.SKIPPED:
                assert played.steps[name] == before[name], "what was not chosen stays"
        for (name, member), times in played.runs.items():
            more = times - ran.get((name, member), 0)
            may = name in (*choice.repeated, *choice.waiting) or (
                name in choice.mended and (name, member) in lost
            )
            assert more <= may, "what was not chosen does not run"
            assert more == 1 or name not in choice.mended or (name, member) not in lost
        ends.append((played.flow.status, played.states()))
    assert ends[0] == ends[1]
