"""Tests of how the console draws a workflow: the layers and order of its steps, the folding of
equal steps, and limits.
"""

from hypothesis import given
from hypothesis import strategies as st

from services.api.console import graph
from services.api.console.graph import GAP_X, MAX_NODES, WIDTH, Drawing
from services.api.workflows.schemas import StepAnswer
from shared.workflows.states import Rule, State


def step(
    name: str, *needs: str, task: str = "area.work", members: int | None = None, **more: object
) -> StepAnswer:
    values: dict[str, object] = {
        "rule": Rule.ALL, "handler": False, "state": State.WAITING, "succeeded": 0, "failed": 0, "revoked": 0,
        "started_at": None, "completed_at": None, "task_id": None, "task_status": None, "attempt": None,
        "error_kind": None,
    }  # fmt: skip
    return StepAnswer(step=name, task=task, needs=list(needs), members=members, **values | more)  # type: ignore[arg-type]


def drawn(*steps: StepAnswer) -> Drawing:
    drawing = graph.draw(steps)
    assert drawing is not None
    return drawing


def test_a_step_is_right_of_all_that_it_needs() -> None:
    drawing = drawn(step("a"), step("b", "a"), step("c", "a", "b"))
    assert [node.x for node in drawing.nodes] == [2, 2 + WIDTH + GAP_X, 2 + 2 * (WIDTH + GAP_X)]
    assert len(drawing.edges) == 3
    assert drawing.width == 2 + 3 * WIDTH + 2 * GAP_X + 2


def test_lines_do_not_cross_where_an_order_without_crossings_exists() -> None:
    drawing = drawn(
        step("a", task="t.a"), step("b", task="t.b"), step("under b", "b", task="t.x"), step("under a", "a")
    )
    y = {node.names[0]: node.y for node in drawing.nodes}
    assert (y["a"] < y["b"]) == (y["under a"] < y["under b"])


def test_equal_siblings_become_one_node_that_shows_the_worst() -> None:
    members = [step(f"scan {n}", "plan", state=State.SUCCESS) for n in range(40)]
    members[7] = step("scan 7", "plan", state=State.FAILURE)
    drawing = drawn(step("plan", state=State.SUCCESS), *members, step("sum", *(m.step for m in members)))
    assert [node.label for node in drawing.nodes] == ["plan", "area.work x40", "sum"]
    folded = drawing.nodes[1]
    assert (folded.state, folded.detail) == (State.FAILURE, "1 failed, 39 done")
    assert len(drawing.edges) == 2


def test_siblings_of_different_kinds_stay_apart() -> None:
    few = [step(f"s{n}") for n in range(4)]
    others = [step(f"o{n}", task=f"area.other_{n}") for n in range(9)]
    assert len(drawn(*few, *others).nodes) == 13


def test_a_group_says_how_its_members_ended() -> None:
    (node,) = drawn(step("send", members=10_000, succeeded=9_000, failed=3)).nodes
    assert (node.label, node.detail) == ("send x10,000", "9,000 done, 3 failed")


def test_what_is_too_large_is_not_drawn() -> None:
    assert graph.draw([step(f"s{n}", task=f"t.{n}") for n in range(MAX_NODES + 1)]) is None


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), min_size=1, max_size=30))
def test_any_graph_is_drawn_without_overlaps(needs: list[set[int]]) -> None:
    steps = [
        step(f"s{n}", *(f"s{m}" for m in sorted(of) if m < n), task=f"t.{n % 5}")
        for n, of in enumerate(needs)
    ]
    drawing = drawn(*steps)
    assert {name for node in drawing.nodes for name in node.names} == {each.step for each in steps}
    places = [(node.x, node.y) for node in drawing.nodes]
    assert len(set(places)) == len(places)
    place = {name: node for node in drawing.nodes for name in node.names}
    for each in steps:
        for need in each.needs:
            assert place[need].x < place[each.step].x
    assert all(0 <= x <= drawing.width - WIDTH and 0 <= y <= drawing.height - graph.HEIGHT for x, y in places)
