"""`python -m local.samples`: adds a few sample destinations of the hotel application to the
database, to experiment with.
"""

import asyncio
import os

import asyncpg

#: SQL: inserts the sample destinations. The hotel application tracks the prices of Goa two days
#: ahead, in one of its two areas, and of Kochi one day ahead. It does not track those of Jaipur.
SAMPLES = """
    WITH india AS (
        INSERT INTO country (code, name) VALUES ('IN', 'India')
        ON CONFLICT (code) DO UPDATE SET name = excluded.name RETURNING id
    ), places AS (
        INSERT INTO destination (country, name, slug, tracking, tracking_days, is_sample)
        SELECT india.id, p.name, p.slug, p.tracking, p.days, true
        FROM india, (VALUES ('Goa', 'goa', true, 2), ('Jaipur', 'jaipur', false, NULL),
                            ('Kochi', 'kochi', true, 1)) AS p(name, slug, tracking, days)
        ON CONFLICT (slug) DO NOTHING RETURNING id, slug
    )
    INSERT INTO area (destination, name, tracking, is_sample)
    SELECT places.id, a.name, a.tracking, true
    FROM places, (VALUES ('Candolim', true), ('Panaji', false)) AS a(name, tracking)
    WHERE places.slug = 'goa'
    ON CONFLICT DO NOTHING
"""


async def main() -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        await connection.execute(SAMPLES)
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
