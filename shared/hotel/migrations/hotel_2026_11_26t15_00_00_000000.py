"""Adds the tables of hotels, prices, push messages and payments."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-26T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Hotels, prices, pushes, payments"

STATEMENTS = [
    """
    CREATE TABLE country (
        id bigserial PRIMARY KEY,
        code text NOT NULL UNIQUE CHECK (code ~ '^[A-Z]{{2}}$'),
        name text NOT NULL
    )
    """,
    """
    CREATE TABLE destination (
        id bigserial PRIMARY KEY,
        country bigint NOT NULL REFERENCES country (id),
        name text NOT NULL,
        slug text NOT NULL UNIQUE,
        is_active boolean NOT NULL DEFAULT true,
        tracking boolean NOT NULL DEFAULT false,
        tracking_days smallint CHECK (tracking_days BETWEEN 1 AND 365),
        is_sample boolean NOT NULL DEFAULT false
    )
    """,
    """
    CREATE TABLE area (
        id bigserial PRIMARY KEY,
        destination bigint NOT NULL REFERENCES destination (id) ON DELETE CASCADE,
        name text NOT NULL,
        is_active boolean NOT NULL DEFAULT true,
        tracking boolean NOT NULL DEFAULT false,
        is_sample boolean NOT NULL DEFAULT false,
        UNIQUE (destination, name)
    )
    """,
    """
    CREATE TABLE hotel (
        id bigserial PRIMARY KEY,
        destination bigint REFERENCES destination (id),
        area bigint REFERENCES area (id) ON DELETE SET NULL,
        provider text NOT NULL,
        external_id text NOT NULL,
        name text NOT NULL,
        star_rating smallint CHECK (star_rating BETWEEN 1 AND 5),
        guest_rating double precision,
        guest_rating_count integer,
        latitude double precision,
        longitude double precision,
        image_url text,
        is_active boolean NOT NULL DEFAULT true,
        synced_at timestamptz,
        received jsonb,
        is_sample boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (provider, external_id)
    )
    """,
    "CREATE INDEX hotel_destination ON hotel (destination)",
    """
    CREATE TABLE price_observation (
        id bigserial PRIMARY KEY,
        hotel bigint NOT NULL REFERENCES hotel (id),
        check_in date NOT NULL,
        check_out date NOT NULL CHECK (check_out > check_in),
        source text NOT NULL,
        occupancy text,
        observed_on date NOT NULL,
        price numeric(12, 2) NOT NULL CHECK (price > 0),
        currency text NOT NULL CHECK (currency ~ '^[A-Z]{{3}}$'),
        previous_price numeric(12, 2),
        previous_on date CHECK (previous_on < observed_on),
        change_amount numeric(12, 2) GENERATED ALWAYS AS (price - previous_price) STORED,
        change_percent numeric(8, 2) GENERATED ALWAYS AS (
            round(100 * (price - previous_price) / previous_price, 2)) STORED,
        received jsonb,
        task uuid,
        observed_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE NULLS NOT DISTINCT (hotel, check_in, check_out, source, occupancy, currency, observed_on)
    )
    """,
    "CREATE INDEX price_observation_task ON price_observation (task)",
    "CREATE INDEX price_observation_observed_at ON price_observation (observed_at)",
    """
    CREATE TABLE price_alert (
        id bigserial PRIMARY KEY,
        "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        hotel bigint NOT NULL REFERENCES hotel (id) ON DELETE CASCADE,
        check_in date,
        check_out date,
        drop_percent numeric(5, 2) NOT NULL DEFAULT 5 CHECK (drop_percent > 0 AND drop_percent <= 100),
        every_hours smallint NOT NULL DEFAULT 24 CHECK (every_hours >= 1),
        is_active boolean NOT NULL DEFAULT true,
        last_sent_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CHECK (num_nulls(check_in, check_out) IN (0, 2)),
        CHECK (check_out > check_in),
        UNIQUE NULLS NOT DISTINCT ("user", hotel, check_in, check_out)
    )
    """,
    "CREATE INDEX price_alert_hotel ON price_alert (hotel)",
    """
    CREATE TABLE provider_account (
        provider text PRIMARY KEY,
        searches_left integer NOT NULL,
        hourly_limit integer,
        checked_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE provider_answer (
        provider text NOT NULL,
        key text NOT NULL,
        body jsonb NOT NULL,
        fetched_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (provider, key)
    )
    """,
    "CREATE INDEX provider_answer_fetched_at ON provider_answer (fetched_at)",
    """
    CREATE TABLE push_subscription (
        id bigserial PRIMARY KEY,
        "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        endpoint text NOT NULL UNIQUE,
        p256dh text NOT NULL,
        auth text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        last_used_at timestamptz
    )
    """,
    'CREATE INDEX push_subscription_user ON push_subscription ("user")',
    """
    CREATE TABLE notification_log (
        task uuid NOT NULL,
        channel text NOT NULL CHECK (channel IN ('email', 'push')),
        target text NOT NULL,
        "user" bigint REFERENCES account (id) ON DELETE CASCADE,
        subject text NOT NULL,
        status text NOT NULL CHECK (status IN ('sending', 'sent', 'failed', 'removed')),
        error text,
        created_at timestamptz NOT NULL DEFAULT now(),
        sent_at timestamptz,
        PRIMARY KEY (task, channel, target)
    )
    """,
    'CREATE INDEX notification_log_user ON notification_log ("user", created_at)',
    """
    CREATE TABLE payment (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        "user" bigint NOT NULL REFERENCES account (id),
        task uuid NOT NULL UNIQUE,
        amount_minor bigint NOT NULL CHECK (amount_minor > 0),
        currency text NOT NULL CHECK (currency ~ '^[A-Z]{{3}}$'),
        status text NOT NULL CHECK (status IN (
            'created', 'unknown', 'processing', 'requires_action', 'succeeded', 'declined', 'failed')),
        intent text UNIQUE,
        key_number integer NOT NULL DEFAULT 1,
        key_used_at timestamptz,
        error_code text,
        error_message text,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    'CREATE INDEX payment_user ON payment ("user", created_at)',
    """
    CREATE INDEX payment_open ON payment (updated_at)
    WHERE status IN ('unknown', 'processing', 'requires_action')
    """,
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "hotel", DESCRIPTION, STATEMENTS)
