"""The routes for operators of the platform."""

from litestar import Router

from services.api.operations import queue_routes, task_routes, worker_routes

ROUTER = Router(
    "",
    route_handlers=[
        queue_routes.list_queues,
        queue_routes.get_queue,
        queue_routes.pause,
        queue_routes.resume,
        queue_routes.purge,
        worker_routes.list_workers,
        worker_routes.quiet,
        worker_routes.drain,
        worker_routes.recycle,
        task_routes.show_stack,
        task_routes.change,
        task_routes.run_now,
        task_routes.release,
    ],
    tags=["operations"],
)
