"""Workflows that applications let the clock begin.

A module of `Application.workflows` declares them. The leader builds the workflow at each firing, so the graph
is that of the release that leads.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from shared.applications import Application
from shared.contracts.catalogue import Catalogue
from shared.contracts.schedule import Times
from shared.workflows import wiring
from shared.workflows.wiring import Graph, GraphStep
from shared.workflows.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSchedule(Times):
    """Begins one workflow per nominal time.

    `build` takes nothing, reads nothing and returns the same workflow each time. What depends on data belongs
    into a task, which begins the workflow with `context.start`.
    """

    build: Callable[[], Workflow]

    @property
    def workflow(self) -> str:
        """The name of the workflow."""
        return self.build().name

    def graph(self, priority: int | None, wait: timedelta) -> Graph:
        """What a firing stores: with this priority, if one is given, and begun this much later.

        Raises InvalidFields.
        """
        flow = self.build()
        flow.priority = flow.priority if priority is None else priority
        graph = wiring.compile(flow)
        return replace(graph, steps=tuple(_delayed(each, wait) for each in graph.steps))


Schedules = Mapping[str, WorkflowSchedule]


def load(applications: Iterable[Application], catalogue: Catalogue) -> Schedules:
    """Import what the applications declare, by the name of the schedule.

    Raises ValueError for a name that is used twice, and InvalidFields for a workflow that breaks a rule.
    """
    found: dict[str, WorkflowSchedule] = {}
    of_contracts = {schedule.name for _, schedule in catalogue.schedules}
    for schedule in {id(each): each for each in _declared(applications)}.values():
        if schedule.name in found or schedule.name in of_contracts:
            raise ValueError(f"two schedules are called {schedule.name}")
        schedule.graph(None, timedelta(0))
        found[schedule.name] = schedule
    return found


def _declared(applications: Iterable[Application]) -> Iterator[WorkflowSchedule]:
    for package in (each.workflows for each in applications if each.workflows):
        path = importlib.import_module(package).__path__
        for info in pkgutil.iter_modules(path, f"{package}."):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, WorkflowSchedule):
                    yield value


def _delayed(each: GraphStep, wait: timedelta) -> GraphStep:
    """A step that needs no other one begins later; the others follow."""
    return each if each.step.needs else replace(each, delay=each.delay + wait)
