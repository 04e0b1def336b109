"""Tables and SQL statements for observed prices, price alerts, and paid answers of providers.

There are two kinds of dates. `check_in` and `check_out` are the dates of the stay; `observed_on` is
the day on which its price was observed. They are never mixed.
"""

from piccolo.columns import (
    JSONB,
    UUID,
    BigSerial,
    Boolean,
    Date,
    ForeignKey,
    Integer,
    Numeric,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table

from shared.hotel.hotels import Hotel
from shared.identity.tables import User


class PriceObservation(Table, tablename="price_observation"):
    """The price of one stay in a hotel, as it was observed on one day.

    A row is unique by hotel, stay, source, occupancy (null is a value), currency and day.
    """

    id = BigSerial(primary_key=True)
    hotel = ForeignKey(Hotel, null=False)
    check_in = Date()
    check_out = Date()
    #: The provider that gave the price: serpapi or travclan.
    source = Text()
    #: The guests as text: the number of adults, and the ages of children. Null means one adult, as in
    #: price scans.
    occupancy = Text(null=True, default=None)
    observed_on = Date()
    #: Price per night, in `currency`.
    price = Numeric(digits=(12, 2))
    #: Currency code, ISO 4217.
    currency = Text()
    #: The price that was observed on the most recent earlier day for the same hotel, stay,
    #: provider, guests and currency.
    previous_price = Numeric(digits=(12, 2), null=True, default=None)
    previous_on = Date(null=True, default=None)
    #: Change of the price since `previous_price`, as an amount and in percent. Postgres computes
    #: both.
    change_amount = Numeric(digits=(12, 2), null=True, default=None)
    change_percent = Numeric(digits=(8, 2), null=True, default=None)
    received = JSONB(null=True, default=None)
    #: Id of the task that observed the price.
    task = UUID(null=True, default=None)
    observed_at = Timestamptz()


class PriceAlert(Table, tablename="price_alert"):
    """A user's request to get a mail when this hotel becomes cheaper."""

    id = BigSerial(primary_key=True)
    user = ForeignKey(User, null=False)
    hotel = ForeignKey(Hotel, null=False)
    #: Dates of the stay to which the alert is limited. If both are null, it is for any stay.
    check_in = Date(null=True, default=None)
    check_out = Date(null=True, default=None)
    #: Minimum fall of the price since the previous observation that triggers a mail, in percent.
    drop_percent = Numeric(digits=(5, 2))
    #: Minimum number of hours between two mails of this alert.
    every_hours = SmallInt()
    is_active = Boolean(default=True)
    last_sent_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class ProviderAccount(Table, tablename="provider_account"):
    """The number of searches that remain in the paid plan of a provider.

    It is the number in the provider's last report minus the searches since then.
    """

    provider = Text(primary_key=True)
    searches_left = Integer()
    hourly_limit = Integer(null=True, default=None)
    checked_at = Timestamptz()


class ProviderAnswer(Table, tablename="provider_answer"):
    """A provider's answer to a paid search, which is reused for an hour.

    The primary key is (provider, key).
    """

    provider = Text(primary_key=True)
    #: SHA-256 of the request that the provider answered.
    key = Text()
    body = JSONB()
    fetched_at = Timestamptz()


TABLES: tuple[type[Table], ...] = (PriceObservation, PriceAlert, ProviderAccount, ProviderAnswer)

#: Stores the prices of many hotels for one stay on one day. A second observation on the same day
#: replaces the first. Placeholders: check_in, check_out, source, occupancy, observed_on, currency,
#: task, and arrays: hotel, price, received. Returns id, hotel, price, previous_price,
#: change_percent.
OBSERVE = """
    INSERT INTO price_observation AS o (hotel, check_in, check_out, source, occupancy, observed_on, currency,
                                        task, price, received, previous_price, previous_on)
    SELECT g.hotel, s.check_in, s.check_out, s.source, s.occupancy, s.observed_on, s.currency, s.task,
           g.price, g.received::jsonb, before.price, before.observed_on
    FROM (SELECT {}::date AS check_in, {}::date AS check_out, {}::text AS source, {}::text AS occupancy,
                 {}::date AS observed_on, {}::text AS currency, {}::uuid AS task) AS s,
        unnest({}::bigint[], {}::numeric[], {}::text[]) AS g(hotel, price, received)
    LEFT JOIN LATERAL (
        SELECT b.price, b.observed_on FROM price_observation AS b
        WHERE b.hotel = g.hotel AND b.check_in = s.check_in AND b.check_out = s.check_out
          AND b.source = s.source AND b.occupancy IS NOT DISTINCT FROM s.occupancy
          AND b.currency = s.currency
          AND b.observed_on < s.observed_on
        ORDER BY b.observed_on DESC LIMIT 1
    ) AS before ON true
    ORDER BY g.hotel
    ON CONFLICT (hotel, check_in, check_out, source, occupancy, currency, observed_on) DO UPDATE SET
        price = excluded.price, received = excluded.received, task = excluded.task,
        previous_price = excluded.previous_price, previous_on = excluded.previous_on, observed_at = now()
    RETURNING id, hotel, price, previous_price, change_percent
"""

#: Selects the price alerts that the prices of one scan trigger, and marks them as sent. Alerts that
#: were mailed within the last `every_hours` are left out. Run it in the transaction that stores the
#: tasks of the mails. For each alert, only the largest fall of a price is returned. Placeholders:
#: id of the scan's task. Returns user, hotel_name, currency, old_price, new_price, destination,
#: check_in, check_out.
RAISE_ALERTS = """
    WITH fallen AS (
        SELECT DISTINCT ON (a.id) a.id AS alert, a."user", h.name AS hotel_name, o.currency,
               o.previous_price AS old_price, o.price AS new_price, d.name AS destination,
               o.check_in, o.check_out
        FROM price_observation AS o
        JOIN price_alert AS a ON a.hotel = o.hotel AND a.is_active
             AND (a.check_in IS NULL OR (a.check_in = o.check_in AND a.check_out = o.check_out))
        JOIN account AS w ON w.id = a."user" AND w.is_active AND w.verified_at IS NOT NULL
        JOIN hotel AS h ON h.id = o.hotel
        LEFT JOIN destination AS d ON d.id = h.destination
        WHERE o.task = {} AND -o.change_percent >= a.drop_percent
          AND (a.last_sent_at IS NULL OR a.last_sent_at <= now() - make_interval(hours => a.every_hours))
        ORDER BY a.id, o.change_percent
    ), marked AS (
        UPDATE price_alert AS a SET last_sent_at = now() FROM fallen
        WHERE a.id = fallen.alert
          AND (a.last_sent_at IS NULL OR a.last_sent_at <= now() - make_interval(hours => a.every_hours))
        RETURNING a.id
    )
    SELECT fallen.* FROM fallen JOIN marked ON marked.id = fallen.alert ORDER BY fallen.alert
"""

#: Reads prices that fell within the last week and for which users have alerts: the newest price of
#: each hotel and stay.
_FALLEN = """
    SELECT DISTINCT ON (a."user", o.hotel, o.check_in, o.check_out) a."user", h.name AS hotel_name,
           d.name AS destination, o.check_in, o.check_out, o.currency, latest.price, o.previous_price,
           latest.price / o.previous_price AS ratio
    FROM price_alert AS a
    JOIN price_observation AS o ON o.hotel = a.hotel AND o.change_amount < 0
         AND o.observed_on > current_date - 7 AND o.check_in >= current_date
         AND (a.check_in IS NULL OR (a.check_in = o.check_in AND a.check_out = o.check_out))
    CROSS JOIN LATERAL (
        SELECT n.price FROM price_observation AS n
        WHERE n.hotel = o.hotel AND n.check_in = o.check_in AND n.check_out = o.check_out
          AND n.source = o.source AND n.occupancy IS NOT DISTINCT FROM o.occupancy
          AND n.currency = o.currency
        ORDER BY n.observed_on DESC LIMIT 1
    ) AS latest
    JOIN hotel AS h ON h.id = o.hotel
    LEFT JOIN destination AS d ON d.id = h.destination
    WHERE a.is_active AND latest.price < o.previous_price
"""
_NEWEST = 'ORDER BY a."user", o.hotel, o.check_in, o.check_out, o.observed_on DESC'

#: Reads the fallen prices for which a user has alerts, the largest fall first. Placeholders: user.
DROPS = f"""
    SELECT * FROM ({_FALLEN} AND a."user" = {{}} {_NEWEST}) AS fallen ORDER BY ratio LIMIT 20
"""

#: Reads the users who get a mail about fallen prices: those with an alert for such a price, who
#: want this mail and whose address is verified. Placeholders: kind of mail.
DIGEST_READERS = f"""
    SELECT DISTINCT w.id AS "user" FROM ({_FALLEN} {_NEWEST}) AS fallen
    JOIN account AS w ON w.id = fallen."user" AND w.is_active AND w.verified_at IS NOT NULL
    WHERE NOT EXISTS (
        SELECT 1 FROM mail_preference AS p
        WHERE p."user" = w.id AND p.kind = {{}} AND p.opted_out_at IS NOT NULL
    )
    ORDER BY w.id
"""

#: Reads a provider's answer that was stored within the last hour. Placeholders: provider, key.
CACHED = """
    SELECT body::text AS body FROM provider_answer
    WHERE provider = {} AND key = {} AND fetched_at > now() - interval '1 hour'
"""

#: Stores a provider's answer, and deletes up to 100 answers older than a day. Placeholders:
#: provider, key, body.
KEEP_ANSWER = """
    WITH old AS (
        DELETE FROM provider_answer WHERE (provider, key) IN (
            SELECT provider, key FROM provider_answer WHERE fetched_at < now() - interval '1 day'
            ORDER BY fetched_at LIMIT 100 FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO provider_answer (provider, key, body) VALUES ({}, {}, {}::text::jsonb)
    ON CONFLICT (provider, key) DO UPDATE SET body = excluded.body, fetched_at = now()
"""

#: Takes one search from the number that a provider reported as remaining, if the report is from the
#: last ten minutes. Placeholders: provider, reserve. Returns no row if only the reserve is left, or
#: if the report is older.
SPEND = """
    UPDATE provider_account SET searches_left = searches_left - 1
    WHERE provider = {} AND searches_left > {} AND checked_at > now() - interval '10 minutes'
    RETURNING searches_left
"""

#: Stores a provider's report of how many searches remain. Placeholders: provider, searches_left,
#: hourly_limit.
KEEP_BUDGET = """
    INSERT INTO provider_account (provider, searches_left, hourly_limit) VALUES ({}, {}, {})
    ON CONFLICT (provider) DO UPDATE SET searches_left = excluded.searches_left,
        hourly_limit = excluded.hourly_limit, checked_at = now()
"""

SUMMARY = """
    SELECT (SELECT count(DISTINCT hotel) FROM price_observation) AS hotels_tracked,
           (SELECT count(*) FROM price_observation WHERE observed_at > now() - interval '1 day')
               AS price_records_last_24h
"""

#: Counts the prices that a task observed, and how many of them had fallen. Placeholders: task.
COUNTS_OF_TASK = """
    SELECT count(*) AS records, count(*) FILTER (WHERE change_amount < 0) AS drops
    FROM price_observation WHERE task = {}
"""

#: Adds or changes a price alert. Placeholders: user, check_in, check_out, drop_percent,
#: every_hours, hotel. Returns no row for an unknown hotel.
WATCH = """
    WITH made AS (
        INSERT INTO price_alert AS a ("user", hotel, check_in, check_out, drop_percent, every_hours)
        SELECT {}, h.id, {}::date, {}::date, {}::double precision::numeric, {}::smallint
        FROM hotel AS h WHERE h.id = {}
        ON CONFLICT ("user", hotel, check_in, check_out) DO UPDATE SET
            drop_percent = excluded.drop_percent, every_hours = excluded.every_hours, is_active = true
        RETURNING *
    )
    SELECT a.id, a.hotel AS hotel_id, h.name AS hotel_name, a.check_in, a.check_out, a.drop_percent,
           a.every_hours, a.last_sent_at, a.created_at
    FROM made AS a JOIN hotel AS h ON h.id = a.hotel
"""

#: Lists a user's price alerts. Placeholders: user.
WATCHED = """
    SELECT a.id, a.hotel AS hotel_id, h.name AS hotel_name, a.check_in, a.check_out, a.drop_percent,
           a.every_hours, a.last_sent_at, a.created_at
    FROM price_alert AS a JOIN hotel AS h ON h.id = a.hotel
    WHERE a."user" = {} AND a.is_active ORDER BY a.id
"""

#: Deletes a price alert if it belongs to the user. Placeholders: id, user.
UNWATCH = """DELETE FROM price_alert WHERE id = {} AND "user" = {} RETURNING id"""
