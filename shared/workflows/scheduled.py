"""Schedules that start workflows. Applications declare them in the modules of
`Application.workflows`.

The leading scheduler builds the workflow at each firing, so the workflow always has the form that
the code of the running release defines.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType

from shared.applications import Application
from shared.contracts.catalogue import Catalogue
from shared.contracts.schedule import Times
from shared.errors import InvalidFields
from shared.workflows import wiring
from shared.workflows.wiring import Graph, GraphStep
from shared.workflows.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSchedule(Times):
    """A schedule that starts a workflow at each nominal time.

    `build` takes no arguments, reads no data and returns the same workflow each time. If a workflow
    depends on data, let the schedule start a task that calls `context.start`.
    """

    build: Callable[[], Workflow]

    @property
    def workflow(self) -> str:
        """The name of the workflow."""
        return self.build().name

    def graph(self, priority: int | None, wait: timedelta) -> Graph:
        """Build and check the workflow of one firing. `priority`, unless it is None, replaces the
        workflow's priority, and `wait` delays its start. Raises InvalidFields.
        """
        flow = self.build()
        flow.priority = flow.priority if priority is None else priority
        graph = wiring.compile(flow)
        return replace(graph, steps=tuple(_delayed(each, wait) for each in graph.steps))


Schedules = Mapping[str, WorkflowSchedule]
NO_WORKFLOWS: Schedules = MappingProxyType({})


def load(applications: Iterable[Application], catalogue: Catalogue) -> Schedules:
    """Import the schedules that the applications declare. Returns them by name.

    Raises ValueError if a name is used twice, or if a workflow breaks a rule.
    """
    found: dict[str, WorkflowSchedule] = {}
    of_contracts = {schedule.name for _, schedule in catalogue.schedules}
    for schedule in {id(each): each for each in _declared(applications)}.values():
        if schedule.name in found or schedule.name in of_contracts:
            raise ValueError(f"two schedules have the name {schedule.name}: rename one of them")
        _check(schedule)
        found[schedule.name] = schedule
    return found


def _declared(applications: Iterable[Application]) -> Iterator[WorkflowSchedule]:
    for package in (each.workflows for each in applications if each.workflows):
        path = importlib.import_module(package).__path__
        for info in pkgutil.iter_modules(path, f"{package}."):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, WorkflowSchedule):
                    yield value


def _check(schedule: WorkflowSchedule) -> None:
    """Check that the workflow of a schedule can be built and compiled. Raises ValueError."""
    try:
        schedule.graph(None, timedelta(0))
    except InvalidFields as error:
        raise ValueError(
            f"the workflow that the schedule {schedule.name} builds breaks a rule: {error}"
        ) from error


def _delayed(each: GraphStep, wait: timedelta) -> GraphStep:
    """Delay a step if it depends on no other step. All other steps start after the delayed ones
    anyway.
    """
    return each if each.step.needs else replace(each, delay=each.delay + wait)
