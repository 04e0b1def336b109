"""Body of the health check task, by which the platform itself is tested."""

from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.contracts.system import HEALTH_CHECK, HealthCheck, HealthChecked


@task(HEALTH_CHECK)
def health_check(context: TaskContext, params: HealthCheck) -> HealthChecked:
    """Succeed. The success proves that everything from submission to result works."""
    return HealthChecked(status="healthy", task_id=str(context.id))
