import importlib
import pkgutil

import pytest

from bench import __main__ as command_line
from bench import figures, flows
from bench.figures import workflow_api, workflow_rates, workflow_rounds, workflow_waits, workflows
from shared.workflows import wiring


def test_a_chain_runs_one_step_after_the_other() -> None:
    steps = [each.step for each in wiring.compile(flows.chain(10)).steps]
    assert [step.needs for step in steps] == [(), *((step.name,) for step in steps[:-1])]


def test_the_body_of_a_chord_takes_the_results_of_all_members() -> None:
    group, body = wiring.compile(flows.chord(7)).steps
    assert (group.step.size, len(group.params)) == (7, 7)
    assert body.step.needs == (group.step.name,)
    assert body.inputs["results"].sources[0].step == group.step.name


@pytest.mark.parametrize(("shape", "bodies"), [(workflows.CHAIN, 10_000), (workflows.CHORD, 10_001)])
def test_the_body_of_a_chord_counts_as_a_task(shape: str, bodies: int) -> None:
    assert workflows.tasks_of(shape, 10_000) == bodies


def test_every_figure_of_workflows_has_a_line_of_its_own() -> None:
    names = [
        figure.name
        for figure in (
            *(
                each
                for shape in workflows.SHAPES
                for peer in workflows.PEERS
                for each in workflows.figures(shape, peer)
            ),
            *(workflow_rates.CHORD, workflow_rates.CHAINS, *workflow_waits.HOPS.values()),
            *(workflow_waits.JOIN, workflow_waits.INPUTS, workflow_rounds.FIGURE),
            *(workflow_api.LOOK, workflow_api.CANCEL),
        )
    ]
    assert len(set(names)) == len(names)


def test_every_module_of_figures_is_measured_by_make_bench() -> None:
    modules = [
        importlib.import_module(f"bench.figures.{found.name}")
        for found in pkgutil.iter_modules(figures.__path__)
    ]
    assert {module.BENCHMARK.name for module in modules} == command_line.BENCHMARKS.keys()
