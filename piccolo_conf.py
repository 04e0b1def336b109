"""Entry point of Piccolo's command line and of the migrations; `make migrate` calls it."""

import os

from piccolo.conf.apps import AppRegistry

from shared import settings
from shared.ledger import engine

DB = engine.build(settings.read(os.environ, needs=("database_url",)).database_url, application="migrations")

APP_REGISTRY = AppRegistry(apps=["shared.ledger.piccolo_app", "shared.domain.piccolo_app"])
