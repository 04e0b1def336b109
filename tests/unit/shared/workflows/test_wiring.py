"""Tests that a workflow compiles to the graph that it describes, or is refused with the name of the
step at fault.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.errors import InvalidFields
from shared.workflows.reference import PREVIOUS, Input, Kind, Source, fill
from shared.workflows.shapes import chain, chord, group
from shared.workflows.states import Rule
from shared.workflows.wiring import Graph, GraphStep, compile
from shared.workflows.workflow import ALWAYS, ANY, FAILED, Step, Workflow, at_least
from tests.unit.shared.workflows.contracts import (
    CHARGE,
    NOTHING,
    RECEIPT,
    REFUND,
    SCAN,
    SPAN,
    SUMMARIZE,
    VALIDATE,
    Charge,
    Nothing,
    Quote,
    Receipt,
    Refund,
    Scan,
    Span,
    Summarize,
    Validate,
)


def steps(graph: Graph) -> dict[str, GraphStep]:
    return {each.step.name: each for each in graph.steps}


def needs(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {each.step.name: each.step.needs for each in graph.steps}


def payment() -> Workflow:
    flow = Workflow("payment")
    check = flow.step(VALIDATE, Validate(user_id=7))
    charge = flow.step(CHARGE, Charge(user_id=7, quote=check.result.quote, token=check.result.token))
    flow.step(RECEIPT, Receipt(payment_id=charge.result.payment_id))
    flow.on_failure(REFUND, Refund(charge=charge.outcome))
    return flow


def test_a_reference_is_an_edge_and_an_input() -> None:
    graph = compile(payment())
    assert needs(graph) == {
        "validate": (),
        "charge": ("validate",),
        "send_receipt": ("charge",),
        "refund": ("validate", "charge", "send_receipt"),
    }
    charge = steps(graph)["charge"]
    assert charge.inputs["quote"] == Input(False, (Source("validate", Kind.RESULT, ("quote",)),))
    assert [msgspec.json.decode(text) for text in charge.params] == [{"user_id": 7}]
    assert {each.step.name for each in graph.steps if each.step.sink} == {"send_receipt"}
    assert {each.step.name for each in graph.steps if each.step.handler} == {"refund"}
    assert steps(graph)["send_receipt"].priority == 2


def test_a_chord_in_a_chain_passes_results_on() -> None:
    flow = Workflow("scan")
    scans = flow.group(SCAN, [Scan(hotel_id=n) for n in range(3)], at_least=2)
    whole = chain(
        flow.step(NOTHING, Nothing(), name="begin"),
        chord(scans, flow.step(SUMMARIZE, Summarize(hotels=PREVIOUS))),
        group(flow.step(NOTHING, Nothing(), name="left"), flow.step(NOTHING, Nothing(), name="right")),
        flow.step(NOTHING, Nothing(), name="end"),
    )
    graph = compile(flow)
    assert [node.name for node in (*whole.heads, *whole.tails)] == ["begin", "end"]
    assert needs(graph) == {
        "begin": (),
        "scan": ("begin",),
        "summarize": ("scan",),
        "left": ("summarize",),
        "right": ("summarize",),
        "end": ("left", "right"),
    }
    assert (steps(graph)["scan"].step.size, steps(graph)["scan"].step.enough) == (3, 2)
    assert steps(graph)["summarize"].inputs["hotels"] == Input(False, (Source("scan", Kind.RESULTS),))


def test_a_chord_over_single_steps_gathers_a_list_and_over_nothing_an_empty_one() -> None:
    flow = Workflow("scan")
    one = flow.step(SCAN, Scan(hotel_id=1))
    many = flow.group(SCAN, [Scan(hotel_id=2)], name="many")
    chord(group(one, many), flow.step(SUMMARIZE, Summarize(hotels=PREVIOUS), name="both"))
    chord(group(one), flow.step(SUMMARIZE, Summarize(hotels=PREVIOUS), name="single"))
    chain(one, group(), flow.step(SUMMARIZE, Summarize(hotels=PREVIOUS), name="none"))
    graph = compile(flow)
    of_one, of_many = Source("scan", Kind.RESULT), Source("many", Kind.RESULTS)
    assert steps(graph)["both"].inputs["hotels"] == Input(True, (of_one, of_many))
    assert steps(graph)["single"].inputs["hotels"] == Input(True, (of_one,))
    assert steps(graph)["none"].inputs["hotels"] == Input(True, ())
    assert needs(graph)["none"] == ("scan",)


def test_the_head_of_each_chain_in_a_group_gets_what_precedes_the_group() -> None:
    flow = Workflow("scan")
    check = flow.step(VALIDATE, Validate(user_id=7))
    chains = [
        chain(
            flow.step(CHARGE, Charge(user_id=7, quote=PREVIOUS), name=f"charge_{n}"),
            flow.step(NOTHING, Nothing(), name=f"end_{n}"),
        )
        for n in range(2)
    ]
    with pytest.raises(InvalidFields, match=r"step 'charge_0': takes float, but 'validate' gives Quote"):
        compile_after(flow, lambda: chain(check, group(*chains)))
    assert [node.name for node in group(*chains).heads] == ["charge_0", "charge_1"]


def compile_after(flow: Workflow, build: Callable[[], Any]) -> Graph:
    build()
    return compile(flow)


def test_parameters_with_rules_of_their_own_are_filled_later() -> None:
    flow = Workflow("span")
    scan = flow.step(SCAN, Scan(hotel_id=1))
    flow.step(SPAN, fill(Span, low=1, high=scan.result.price))
    assert steps(compile(flow))["span"].inputs == {
        "high": Input(False, (Source("scan", Kind.RESULT, ("price",)),))
    }


def validated(flow: Workflow) -> Step[Quote]:
    return flow.step(VALIDATE, Validate(user_id=7))


def circle(flow: Workflow) -> None:
    left = flow.step(NOTHING, Nothing(), name="left")
    right = flow.step(NOTHING, Nothing(), name="right", after=[left])
    chain(right, left)


def result_under_any(flow: Workflow) -> None:
    check = validated(flow)
    flow.step(CHARGE, Charge(user_id=1, quote=check.result.quote), when=ANY)


def sealed(flow: Workflow) -> None:
    flow.step(RECEIPT, Receipt(payment_id=validated(flow).result.token))


def of_another_workflow(flow: Workflow) -> None:
    validated(flow)
    flow.step(CHARGE, Charge(user_id=1, quote=validated(Workflow("other")).result.quote))


def different_inputs(flow: Workflow) -> None:
    check = validated(flow)
    flow.group(CHARGE, [Charge(user_id=1, quote=check.result.quote), Charge(user_id=2, quote=2.0)])


def twice(flow: Workflow) -> None:
    flow.step(NOTHING, Nothing(), name="same")
    flow.step(NOTHING, Nothing(), name="same")


def wrong_field(flow: Workflow) -> None:
    result: Any = validated(flow).result
    flow.step(CHARGE, Charge(user_id=1, quote=result.price))


def unknown_field(flow: Workflow) -> None:
    later: Any = fill
    flow.step(RECEIPT, later(Receipt, payment_id="p", color="red"))


def missing_field(flow: Workflow) -> None:
    later: Any = fill
    flow.step(CHARGE, later(Charge, user_id=1))


def broken_constant(flow: Workflow) -> None:
    wrong: Any = "seven"
    flow.step(CHARGE, Charge(user_id=wrong, quote=validated(flow).result.quote))


def wrong_class(flow: Workflow) -> None:
    wrong: Any = Nothing()
    flow.step(RECEIPT, wrong)


REFUSED: list[tuple[Callable[[Workflow], Any], str]] = [
    (lambda flow: None, "steps: must be 1 to 1,000, not 0"),
    (circle, "steps: must not need each other in a circle: left, right"),
    (twice, "step 'same': 2 steps have this name"),
    (
        result_under_any,
        "step 'charge': takes a result, which may be missing .* use the outcome of 'validate'",
    ),
    (sealed, "step 'send_receipt': takes a sensitive value of 'validate', so it must be marked SENSITIVE"),
    (of_another_workflow, "step 'charge': is read from 'validate', which is a step of another workflow"),
    (different_inputs, r"steps\[1\].params\[1\].quote: step 'charge': must be read from the same steps"),
    (wrong_field, "step 'charge': is read from the field 'price', which 'validate' does not return"),
    (unknown_field, r"steps\[0\].params.color: step 'send_receipt': is unknown"),
    (missing_field, r"steps\[0\].params.quote: step 'charge': is required"),
    (broken_constant, r"steps\[1\].params.user_id: step 'charge': expected `int`, got `str`"),
    (wrong_class, "step 'send_receipt': must be Receipt, not .*Nothing"),
    (lambda f: f.step(SUMMARIZE, Summarize(hotels=PREVIOUS)), "step 'summarize': is PREVIOUS, but nothing"),
    (lambda f: f.step(NOTHING, Nothing(), when=FAILED), "step 'nothing': must name at least one step"),
    (
        lambda f: f.step(NOTHING, Nothing(), when=at_least(2)),
        "step 'nothing': must ask for 1 to 0 of the steps",
    ),
    (
        lambda f: f.group(NOTHING, [], at_least=1),
        "step 'nothing': must be between 1 and the number of members, 0",
    ),
    (lambda f: f.group(NOTHING, [Nothing()] * 10_001), "step 'nothing': must have at most 10,000 members"),
    (lambda f: f.step(NOTHING, Nothing(), name="Not A Name"), "step 'Not A Name': must be 1 to 100 of a-z"),
    (lambda f: f.step(NOTHING, Nothing(), priority=10), "step 'nothing': must be between 0 and 9"),
    (
        lambda f: f.step(NOTHING, Nothing(), delay=timedelta(days=367)),
        "step 'nothing': must be between 0 and 366",
    ),
    (
        lambda f: f.step(NOTHING, Nothing(), after=[validated(Workflow("other"))]),
        "step 'nothing': needs 'validate', which is a step of another workflow",
    ),
]


@pytest.mark.parametrize(("build", "rule"), REFUSED)
def test_a_refusal_names_the_step_and_the_rule(build: Callable[[Workflow], Any], rule: str) -> None:
    flow = Workflow("refused")
    with pytest.raises(InvalidFields, match=rule):
        compile_after(flow, lambda: build(flow))


def test_options_of_a_workflow_are_checked() -> None:
    flow = Workflow("No", deadline=timedelta(days=400), unique="", priority=11)
    flow.step(NOTHING, Nothing())
    with pytest.raises(InvalidFields) as refused:
        compile(flow)
    assert [problem.field for problem in refused.value.problems] == [
        "name",
        "deadline_s",
        "unique",
        "priority",
    ]


def test_what_needs_a_handler_is_a_handler() -> None:
    flow = Workflow("clean")
    work = flow.step(NOTHING, Nothing(), name="work")
    clean = flow.step(NOTHING, Nothing(), name="clean", after=[work], when=ALWAYS)
    flow.step(NOTHING, Nothing(), name="report", after=[clean])
    graph = compile(flow)
    assert [each.step.name for each in graph.steps if each.step.handler] == ["clean", "report"]
    assert [each.step.name for each in graph.steps if each.step.sink] == ["work"]
    assert steps(graph)["clean"].step.rule is Rule.ALWAYS
