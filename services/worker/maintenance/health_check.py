"""Tasks about the platform itself."""

from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.contracts.system import HEALTH_CHECK, HealthCheck, HealthChecked


@task(HEALTH_CHECK)
def health_check(context: TaskContext, params: HealthCheck) -> HealthChecked:
    """Prove that the way from submission to result is open."""
    return HealthChecked(status="healthy", task_id=str(context.id))
