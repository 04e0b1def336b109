"""The configuration that Piccolo, the ORM, loads for its command line and for migrations.

`make migrate` applies the migrations with `shared.migrate`.
"""

import os

from piccolo.conf.apps import AppRegistry

from shared import applications, settings
from shared.ledger import session
from shared.ledger.database import Database
from shared.migration import known

_settings = settings.read(os.environ, needs=("database_url",))

DB = Database(_settings.database_url, session.of_migrations()).engine

APP_REGISTRY = AppRegistry(apps=known.modules(applications.find(_settings.applications)))
