"""Entry point of Piccolo's command line and of the migrations; `make migrate` runs `shared.migrate`."""

import os

from piccolo.conf.apps import AppRegistry

from shared import applications, settings
from shared.ledger.database import Database

_settings = settings.read(os.environ, needs=("database_url",))

DB = Database.for_service(_settings.database_url, "migrations").engine

APP_REGISTRY = AppRegistry(
    apps=[
        "shared.ledger.piccolo_app",
        *(each.migrations for each in applications.find(_settings.applications) if each.migrations),
    ]
)
