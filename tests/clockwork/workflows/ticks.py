"""A test workflow, and the schedule that starts it each second."""

from shared.contracts.system import HEALTH_CHECK, HealthCheck
from shared.workflows.scheduled import WorkflowSchedule
from shared.workflows.workflow import Workflow


def tick() -> Workflow:
    flow = Workflow("tick")
    first = flow.step(HEALTH_CHECK, HealthCheck(), name="first")
    flow.step(HEALTH_CHECK, HealthCheck(), name="second", after=[first])
    return flow


EACH_SECOND = WorkflowSchedule(
    name="clockwork.tick.each_second", kind="interval", expression="1 s", misfire="all", build=tick
)
