"""Collects the task routes in one router."""

from litestar import Router

from services.api.tasks import act_routes, catalogue_routes, statistics_routes, submission_routes, task_routes

ROUTER = Router(
    "",
    route_handlers=[
        catalogue_routes.catalogue,
        submission_routes.submit,
        submission_routes.submit_batch,
        task_routes.list_tasks,
        statistics_routes.summarise,
        statistics_routes.series,
        statistics_routes.kinds,
        statistics_routes.waits,
        task_routes.get_task,
        task_routes.get_result,
        task_routes.get_place,
        task_routes.list_attempts,
        task_routes.list_logs,
        act_routes.retry,
        act_routes.cancel,
        act_routes.change,
        act_routes.run_now,
        act_routes.release,
        task_routes.show_stack,
    ],
    tags=["tasks"],
)
