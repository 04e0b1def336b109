"""`python -m tests.release_before` records the schema of the database in DATABASE_URL.

Run it right after a release. From then on no migration may break that release, which
`tests/integration/shared/test_release_before.py` checks.
"""

import asyncio
import os

import asyncpg

from tests.release_before.schema import Schema


async def main() -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    (await Schema.of(connection)).record()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
