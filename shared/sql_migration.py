"""A migration that is a list of SQL statements: what Postgres enforces is written as Postgres reads it."""

from collections.abc import Iterable

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table


class _Statement(Table):
    """Carries raw SQL to the engine of `piccolo_conf`; there is no such table."""


def in_sql(migration_id: str, app: str, description: str, statements: Iterable[str]) -> MigrationManager:
    """What a migration's `forwards` returns; runs the statements in order, in Piccolo's transaction."""
    manager = MigrationManager(migration_id=migration_id, app_name=app, description=description)

    async def run() -> None:
        for statement in statements:
            await _Statement.raw(statement)

    manager.add_raw(run)
    return manager
