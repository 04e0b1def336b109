"""Lists the hotel application's routes and the roles that may call each of them."""

from litestar import Router

from services.api.applications import Routes
from services.api.audit.actions import Action, Unaudited
from services.api.hotel import mail_routes, price_alert_routes, push_routes, task_routes, tracking_routes
from services.api.identity.rights import ALL, NONE, OWN, Right, Scope

OWN_CHOICE = Unaudited("Users choose what they get. No route changes the choice of another account.")

ROUTES = Routes(
    signed_in=[
        Router("", route_handlers=[mail_routes.my_mail, mail_routes.choose_mail], tags=["mail"]),
        Router(
            "",
            route_handlers=[
                task_routes.submit_mail,
                task_routes.submit_search,
                task_routes.submit_notification,
                task_routes.submit_payment,
                task_routes.submit_sync,
            ],
            tags=["hotel application"],
        ),
        Router(
            "",
            route_handlers=[
                push_routes.key,
                push_routes.subscribe,
                push_routes.list_subscriptions,
                push_routes.unsubscribe,
            ],
            tags=["pushes"],
        ),
        Router(
            "",
            route_handlers=[
                price_alert_routes.make,
                price_alert_routes.list_alerts,
                price_alert_routes.remove,
            ],
            tags=["price alerts"],
        ),
        Router(
            "",
            route_handlers=[
                tracking_routes.start,
                tracking_routes.scan,
                tracking_routes.status,
                tracking_routes.configuration,
                tracking_routes.summarise,
                tracking_routes.health,
                tracking_routes.logs,
                tracking_routes.stream,
            ],
            tags=["hotel tracking"],
        ),
    ],
    public=[mail_routes.ask, mail_routes.unsubscribe],
    rights={
        "GET /api/v1/auth/me/mail": Right(Scope.ACCOUNTS_READ, OWN, OWN, OWN, OWN),
        "PUT /api/v1/auth/me/mail": Right(Scope.ACCOUNTS_WRITE, OWN, OWN, OWN, OWN, OWN_CHOICE),
        "POST /api/v1/tasks/email": Right(Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, [Action.TASK_SUBMITTED]),
        "POST /api/v1/tasks/hotel-search": Right(
            Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, Unaudited("A search is the caller's own.")
        ),
        "POST /api/v1/tasks/notification": Right(
            Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, [Action.TASK_SUBMITTED]
        ),
        "POST /api/v1/tasks/payment": Right(
            Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, [Action.WORKFLOW_SUBMITTED]
        ),
        "POST /api/v1/tasks/sync-hotels": Right(
            Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.TASK_SUBMITTED]
        ),
        "POST /api/v1/admin/hotel-tracking/start": Right(
            Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.TASK_SUBMITTED]
        ),
        "POST /api/v1/admin/hotel-tracking/destination/{destination_id}": Right(
            Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.TASK_SUBMITTED]
        ),
        "GET /api/v1/admin/hotel-tracking/status/{task_id}": Right(
            Scope.TASKS_READ, NONE, ALL, ALL, ALL, [Action.UNMASKED]
        ),
        "GET /api/v1/admin/hotel-tracking/config": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
        "GET /api/v1/admin/hotel-tracking/summary": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
        "GET /api/v1/admin/hotel-tracking/health": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
        "GET /api/v1/admin/hotel-tracking/logs/{task_id}": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
        "GET /api/v1/admin/hotel-tracking/logs/{task_id}/stream": Right(
            Scope.TASKS_READ, NONE, ALL, ALL, ALL
        ),
        "GET /api/v1/push/key": Right(Scope.ACCOUNTS_READ, OWN, OWN, OWN, OWN),
        "GET /api/v1/push/subscriptions": Right(Scope.ACCOUNTS_READ, OWN, OWN, OWN, OWN),
        "POST /api/v1/push/subscriptions": Right(Scope.ACCOUNTS_WRITE, OWN, OWN, OWN, OWN, OWN_CHOICE),
        "DELETE /api/v1/push/subscriptions/{subscription_id}": Right(
            Scope.ACCOUNTS_WRITE, OWN, OWN, OWN, OWN, OWN_CHOICE
        ),
        "GET /api/v1/price-alerts": Right(Scope.ACCOUNTS_READ, OWN, OWN, OWN, OWN),
        "POST /api/v1/price-alerts": Right(Scope.ACCOUNTS_WRITE, OWN, OWN, OWN, OWN, OWN_CHOICE),
        "DELETE /api/v1/price-alerts/{alert_id}": Right(Scope.ACCOUNTS_WRITE, OWN, OWN, OWN, OWN, OWN_CHOICE),
    },
    public_rights={"GET /unsubscribe/{token}": (), "POST /unsubscribe/{token}": OWN_CHOICE},
)
