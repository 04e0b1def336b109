"""Makes Postgres cancel statements, as it does with those that take too long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.platform import Platform


@asynccontextmanager
async def canceled(platform: Platform, change: str, condition: str) -> AsyncIterator[None]:
    """Cancel each statement that makes this change, such as `INSERT ON task`, to a row that meets
    the condition.
    """
    await platform.rows(
        """
        CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'statement timeout' USING ERRCODE = 'query_canceled'; END $$
        """
    )
    await platform.rows(
        f"CREATE TRIGGER cancel BEFORE {change} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION cancel()"
    )
    try:
        yield
    finally:
        await platform.rows("DROP FUNCTION cancel CASCADE")
