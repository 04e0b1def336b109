"""Entry point of Piccolo's command line and of the migrations; `make migrate` runs `shared.migrate`."""

import os

from piccolo.conf.apps import AppRegistry

from shared import applications, settings
from shared.ledger.database import STATEMENT_TIMEOUT_S, Connection, Database, session_settings
from shared.migration import known

_settings = settings.read(os.environ, needs=("database_url",))

#: Statements may take as long as they need. `shared.migration` limits those that hold strong locks.
_SESSION = session_settings("migrate", statement_timeout_s=0)

DB = Database(
    _settings.database_url, _SESSION, timeout=STATEMENT_TIMEOUT_S, connection_class=Connection
).engine

APP_REGISTRY = AppRegistry(apps=known.modules(applications.find(_settings.applications)))
