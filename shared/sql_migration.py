"""Creates database migrations that are written in SQL.

`in_sql` is for new tables. `in_steps` is for tables that the services use while the migration runs.
"""

from collections.abc import Iterable

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from shared.migration import session
from shared.migration.steps import Step


class _Statement(Table):
    """A Piccolo table that does not exist in the database. It only serves to run raw SQL with the
    engine of `piccolo_conf`.
    """


def in_sql(migration_id: str, app: str, description: str, statements: Iterable[str]) -> MigrationManager:
    """Create the migration that a migration file's `forwards` returns, from SQL statements. They
    run in order in one transaction, so all of them take effect or none.

    Locks are held until the last statement has ended. A literal `{` in a statement must be written
    `{{`.
    """
    manager = MigrationManager(migration_id=migration_id, app_name=app, description=description)

    async def run() -> None:
        for statement in statements:
            await _Statement.raw(statement)

    manager.add_raw(run)
    return manager


def in_steps(migration_id: str, app: str, description: str, steps: Iterable[Step]) -> MigrationManager:
    """Create the migration that a migration file's `forwards` returns, from repeatable steps. The
    steps run in order, each in transactions of its own.

    An interrupted migration runs again from its first step, so every step must be repeatable.
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
