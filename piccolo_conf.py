"""Entry point of Piccolo's command line and of the migrations; `make migrate` runs `shared.migrate`."""

import os

from piccolo.conf.apps import AppRegistry

from shared import applications, settings
from shared.ledger import session
from shared.ledger.database import Database
from shared.migration import known

_settings = settings.read(os.environ, needs=("database_url",))

DB = Database(_settings.database_url, session.of_migrations()).engine

APP_REGISTRY = AppRegistry(apps=known.modules(applications.find(_settings.applications)))
