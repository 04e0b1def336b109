"""Tests the table of outcomes in docs/workflows.md row by row.

The order in which tasks end must not matter.
"""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.workflows.states import Ended, OnFailure, Rule, State, Step
from tests.unit.shared.workflows.played import FAILURE, REVOKED, SUCCESS, Played

WAITING, RUNNING, SKIPPED = State.WAITING, State.RUNNING, State.SKIPPED


def step(name: str, *needs: str, **options: Any) -> Step:
    """A step as `compile` would make it.

    By default every step that is no handler is a sink (nothing follows it).
    """
    size = options.get("size", 1)
    rule = options.get("rule", Rule.ALL)
    handler = rule in (Rule.ALWAYS, Rule.FAILED)
    given = {"needs": needs, "enough": size, "sink": not handler, "handler": handler} | options
    return Step(name=name, position=0, **given)


def following(rule: Rule, ended: str, **options: Any) -> State:
    """State of a step with this rule, after the only step that it needs has ended in this way."""
    played = Played([step("a", sink=False), step("b", "a", rule=rule, **options)])
    played.end(a=ended)
    return played.steps["b"].state


@pytest.mark.parametrize(
    ("rule", "success", "failure", "revoked"),
    [
        (Rule.ALL, RUNNING, SKIPPED, SKIPPED),
        (Rule.AT_LEAST, RUNNING, SKIPPED, SKIPPED),
        (Rule.ALWAYS, RUNNING, RUNNING, RUNNING),
        (Rule.FAILED, SKIPPED, RUNNING, RUNNING),
    ],
)
def test_what_follows_one_step(rule: Rule, success: State, failure: State, revoked: State) -> None:
    found = [following(rule, ended, k=1) for ended in (SUCCESS, FAILURE, REVOKED)]
    assert found == [success, failure, revoked]


def test_all_waits_for_the_last_and_any_for_the_first() -> None:
    joins = [step("all", "a", "b"), step("any", "a", "b", rule=Rule.AT_LEAST, k=1)]
    played = Played([step("a"), step("b"), *joins])
    assert played.end(a=SUCCESS).released == ("any",)
    assert played.end(b=SUCCESS).released == ("all",)


def test_a_join_that_can_no_longer_be_met_is_skipped_with_all_that_needs_it() -> None:
    two = step("two", "a", "b", "c", rule=Rule.AT_LEAST, k=2)
    played = Played([step("a"), step("b"), step("c"), two, step("after", "two"), step("last", "after")])
    played.end(a=FAILURE)
    assert played.steps["two"].state is WAITING
    played.end(b=REVOKED)
    assert [played.steps[name].state for name in ("two", "after", "last")] == [SKIPPED] * 3


def test_a_skipped_step_does_not_start_a_handler_but_the_failure_before_it_does() -> None:
    main = [step("a"), step("b", "a")]
    played = Played([*main, step("of_b", "b", rule=Rule.FAILED), step("of_all", "a", "b", rule=Rule.FAILED)])
    assert played.end(a=FAILURE).released == ("of_all",)
    assert played.steps["of_b"].state is SKIPPED


def test_a_group_that_needs_all_fails_at_its_first_failure_and_is_closed_by_its_last_member() -> None:
    handlers = [step("repair", "scan", rule=Rule.FAILED), step("clean", "scan", rule=Rule.ALWAYS)]
    played = Played([step("scan", size=3), step("after", "scan"), *handlers])
    played.end(scan=SUCCESS)
    assert played.end(scan=FAILURE).released == ("repair",)
    assert played.steps["after"].state is SKIPPED
    assert played.end(scan=SUCCESS).released == ("clean",)


def test_a_group_of_which_enough_succeed_waits_for_all_and_succeeds() -> None:
    played = Played([step("scan", size=3, enough=2, sink=False), step("after", "scan")])
    played.end(scan=SUCCESS)
    played.end(scan=FAILURE)
    assert played.steps["scan"].state is RUNNING
    assert played.end(scan=SUCCESS).released == ("after",)
    played.end(after=SUCCESS)
    assert played.flow.status == "success"


def test_a_group_of_which_too_few_can_succeed_fails_early() -> None:
    played = Played([step("scan", size=3, enough=2), step("after", "scan")])
    played.news(ended={"scan": Ended(failed=1, revoked=1)})
    assert played.steps["scan"].state is State.FAILURE
    assert played.steps["after"].state is SKIPPED


def test_the_first_successes_move_on_and_the_rest_is_canceled() -> None:
    played = Played([step("race", size=3, enough=1, first=True, sink=False), step("after", "race")])
    made = played.end(race=SUCCESS)
    assert (made.released, made.cancelled) == (("after",), ("race",))
    played.end(after=SUCCESS)
    assert played.flow.status == "running"
    played.end(race=REVOKED)
    played.end(race=REVOKED)
    assert played.flow.status == "success"


def test_empty_groups_succeed_at_once_and_so_may_a_whole_workflow() -> None:
    played = Played([step("none", size=0), step("also", "none", size=0), step("body", "also")])
    assert played.released == ["body"]
    assert Played([step("none", size=0)]).flow.status == "success"


def test_independent_steps_continue_after_a_failure() -> None:
    played = Played([step("a"), step("b"), step("after", "b")])
    played.end(a=FAILURE)
    played.end(b=SUCCESS)
    played.end(after=SUCCESS)
    assert played.flow.status == "failure"


def test_stop_skips_what_waits_and_cancels_what_runs_but_no_handler() -> None:
    main = [step("a"), step("b"), step("after", "b")]
    handlers = [step("repair", "a", rule=Rule.FAILED), step("clean", "a", "b", rule=Rule.ALWAYS)]
    played = Played([*main, *handlers], on_failure=OnFailure.STOP)
    made = played.end(a=FAILURE)
    assert (made.released, made.cancelled) == (("repair",), ("b",))
    assert played.steps["after"].state is SKIPPED
    assert played.end(b=REVOKED).released == ("clean",)
    played.end(repair=SUCCESS, clean=SUCCESS)
    assert played.flow.status == "failure"


def test_a_failed_branch_of_an_any_does_not_fail_the_workflow() -> None:
    join = step("any", "a", "b", rule=Rule.AT_LEAST, k=1)
    played = Played([step("a", sink=False), step("b", sink=False), join])
    played.end(a=FAILURE, b=SUCCESS)
    played.end(any=SUCCESS)
    assert played.flow.status == "success"


def test_a_failed_handler_fails_the_workflow() -> None:
    played = Played([step("a"), step("clean", "a", rule=Rule.ALWAYS)])
    played.end(a=SUCCESS)
    played.end(clean=FAILURE)
    assert played.flow.status == "failure"


def test_a_canceled_workflow_ends_as_revoked_and_cleans_up() -> None:
    main = [step("a"), step("b", "a")]
    handlers = [step("repair", "a", "b", rule=Rule.FAILED), step("clean", "a", "b", rule=Rule.ALWAYS)]
    played = Played([*main, *handlers])
    assert played.news(cancels=1).cancelled == ("a",)
    assert played.steps["b"].state is SKIPPED
    assert played.end(a=REVOKED).released == ("clean",)
    assert played.steps["repair"].state is SKIPPED
    played.end(clean=SUCCESS)
    assert played.flow.status == "revoked"


def test_canceling_twice_ends_handlers_as_well() -> None:
    played = Played(
        [step("a"), step("clean", "a", rule=Rule.ALWAYS), step("last", "clean", rule=Rule.ALWAYS)]
    )
    played.end(a=SUCCESS)
    assert played.news(cancels=2).cancelled == ()
    assert played.news(cancels=1).cancelled == ("clean",)
    assert played.steps["last"].state is SKIPPED


def test_after_the_deadline_handlers_run_and_the_workflow_has_failed() -> None:
    main = [step("a"), step("b"), step("c", "b")]
    handlers = [step("repair", "c", rule=Rule.FAILED), step("clean", "a", "b", rule=Rule.ALWAYS)]
    played = Played([*main, *handlers])
    played.end(a=SUCCESS)
    made = played.news(late=True)
    assert (made.cancelled, made.released) == (("b",), ("repair",))
    assert played.end(b=REVOKED).released == ("clean",)
    played.end(repair=SUCCESS, clean=SUCCESS)
    assert played.flow.status == "failure"


def test_a_task_that_starts_again_lets_what_was_skipped_wait_again() -> None:
    played = Played([step("a", sink=False), step("b", "a"), step("repair", "a", rule=Rule.FAILED)])
    played.end(a=FAILURE)
    played.end(repair=SUCCESS)
    assert played.flow.status == "failure"
    played.open.add(("a", 0))
    played.news(ended={"a": Ended(failed=-1)}, reopened=True)
    assert played.states() == {"a": RUNNING, "b": WAITING, "repair": State.SUCCESS}
    assert played.end(a=SUCCESS).released == ("b",)
    played.end(b=SUCCESS)
    assert played.flow.status == "success"


@st.composite
def workflows(draw: st.DrawFn) -> tuple[list[Step], dict[str, list[str]]]:
    """A random graph, and how each task in it will end."""
    steps: list[Step] = []
    outcomes: dict[str, list[str]] = {}
    for number in range(draw(st.integers(1, 9))):
        name = f"s{number}"
        before = [each.name for each in steps]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=4)) if before else []
        rules = list(Rule) if needs else [Rule.ALL]
        size = draw(st.sampled_from([1, 1, 1, 0, 2, 5]))
        enough = draw(st.integers(1, size)) if size else 0
        handlers = {each.name for each in steps if each.handler}
        rule = draw(st.sampled_from(rules))
        steps.append(
            step(
                name,
                *needs,
                rule=rule,
                k=draw(st.integers(1, len(needs))) if needs else 0,
                size=size,
                enough=enough,
                first=draw(st.booleans()),
                handler=rule in (Rule.ALWAYS, Rule.FAILED) or not handlers.isdisjoint(needs),
                sink=draw(st.booleans()),
            )
        )
        ends = st.sampled_from([SUCCESS, SUCCESS, SUCCESS, FAILURE, REVOKED])
        outcomes[name] = draw(st.lists(ends, min_size=size, max_size=size))
    return steps, outcomes


@given(drawn=workflows(), orders=st.tuples(st.integers(), st.integers()))
def test_any_order_and_grouping_of_ends_leads_to_one_end(
    drawn: tuple[list[Step], dict[str, list[str]]], orders: tuple[int, int]
) -> None:
    steps, outcomes = drawn
    ends = []
    for seed in orders:
        played = Played(steps)
        played.run(outcomes, random.Random(seed))
        assert played.flow.open_steps == sum(each.open for each in played.steps.values()) == 0
        assert not any(state in (WAITING, RUNNING) for state in played.states().values())
        ends.append((played.flow.status, played.states()))
    assert ends[0] == ends[1]
