"""Collects the routes for operators of the platform."""

from litestar import Router

from services.api.operations import error_routes, health_routes, queue_routes, worker_routes

ROUTER = Router(
    "",
    route_handlers=[
        health_routes.show_health,
        queue_routes.list_queues,
        queue_routes.get_queue,
        queue_routes.pause,
        queue_routes.resume,
        queue_routes.purge,
        error_routes.list_errors,
        error_routes.get_error,
        error_routes.change_error,
        worker_routes.list_workers,
        worker_routes.quiet,
        worker_routes.drain,
        worker_routes.recycle,
    ],
    tags=["operations"],
)
