"""The contract of a task that checks whether the platform runs tasks."""

from shared.contracts.contract import Contract, Params, Result, Retries


class HealthCheck(Params):
    pass


class HealthChecked(Result):
    status: str
    task_id: str


HEALTH_CHECK = Contract(
    name="system.health_check",
    queue="default",
    params=HealthCheck,
    result=HealthChecked,
    retries=Retries(max_attempts=1),
)
