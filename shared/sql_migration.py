"""Migrations in SQL: what Postgres enforces is written as Postgres reads it.

`in_sql` is for tables that are new, `in_steps` for tables that the services use.
"""

from collections.abc import Iterable

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from shared.migration import session
from shared.migration.steps import Step


class _Statement(Table):
    """Carries raw SQL to the engine of `piccolo_conf`; there is no such table."""


def in_sql(migration_id: str, app: str, description: str, statements: Iterable[str]) -> MigrationManager:
    """What a migration's `forwards` returns; runs the statements in order, all or none.

    Locks are held until the last statement has ended. `{` is written `{{`.
    """
    manager = MigrationManager(migration_id=migration_id, app_name=app, description=description)

    async def run() -> None:
        for statement in statements:
            await _Statement.raw(statement)

    manager.add_raw(run)
    return manager


def in_steps(migration_id: str, app: str, description: str, steps: Iterable[Step]) -> MigrationManager:
    """What a migration's `forwards` returns; runs the steps in order, each in transactions of its own.

    An interrupted migration runs again from its first step, which is why every step may run again.
    """
    manager = MigrationManager(
        migration_id=migration_id, app_name=app, description=description, wrap_in_transaction=False
    )

    async def run() -> None:
        engine = engine_finder()
        assert isinstance(engine, PostgresEngine)
        async with session.opened(engine) as opened:
            for step in steps:
                await step.run(opened)

    manager.add_raw(run)
    return manager
