"""Tables and SQL statements for hotels, their locations, and destinations with tracked prices."""

from piccolo.columns import (
    JSONB,
    BigSerial,
    Boolean,
    DoublePrecision,
    ForeignKey,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table


class Country(Table, tablename="country"):
    """A country that has destinations for travelers."""

    id = BigSerial(primary_key=True)
    #: Country code of ISO 3166-1: two capital letters.
    code = Text(unique=True)
    name = Text()


class Destination(Table, tablename="destination"):
    """A town or region in which people search for hotels."""

    id = BigSerial(primary_key=True)
    country = ForeignKey(Country, null=False)
    name = Text()
    slug = Text(unique=True)
    is_active = Boolean(default=True)
    #: True if the prices of hotels in this destination are scanned daily.
    tracking = Boolean(default=False)
    #: Number of days of arrival whose prices are scanned, beginning with today; null means the
    #: default of all destinations.
    tracking_days = SmallInt(null=True, default=None)
    #: True for sample data, which the local development system creates.
    is_sample = Boolean(default=False)


class Area(Table, tablename="area"):
    """A part of a destination, in which hotels are searched for separately."""

    id = BigSerial(primary_key=True)
    destination = ForeignKey(Destination, null=False)
    name = Text()
    is_active = Boolean(default=True)
    tracking = Boolean(default=False)
    is_sample = Boolean(default=False)


class Hotel(Table, tablename="hotel"):
    """A hotel as one provider describes it.

    A row is unique by (provider, external_id).
    """

    id = BigSerial(primary_key=True)
    #: Destination to which the hotel belongs; null until a scan of a destination finds the hotel.
    destination = ForeignKey(Destination, null=True, default=None)
    area = ForeignKey(Area, null=True, default=None)
    #: Provider from which the data of the hotel comes: serpapi or travclan.
    provider = Text()
    #: Id of the hotel at the provider, which does not change.
    external_id = Text()
    name = Text()
    #: Class of the hotel as a number of stars, 1 to 5.
    star_rating = SmallInt(null=True, default=None)
    guest_rating = DoublePrecision(null=True, default=None)
    guest_rating_count = Integer(null=True, default=None)
    latitude = DoublePrecision(null=True, default=None)
    longitude = DoublePrecision(null=True, default=None)
    image_url = Text(null=True, default=None)
    is_active = Boolean(default=True)
    #: Time at which the task `hotels.sync` last received an answer about this hotel.
    synced_at = Timestamptz(null=True, default=None)
    #: The data of the hotel as the provider sent it.
    received = JSONB(null=True, default=None)
    is_sample = Boolean(default=False)
    created_at = Timestamptz()
    updated_at = Timestamptz()


TABLES: tuple[type[Table], ...] = (Country, Destination, Area, Hotel)

#: Stores many hotels in one statement. Fields that the provider omits keep their stored value.
#: Placeholders: provider, destination, area, and arrays: external_id, name, star_rating,
#: guest_rating, guest_rating_count, latitude, longitude, image_url, received. Returns id and
#: external_id.
UPSERT_HOTELS = """
    INSERT INTO hotel AS h (provider, destination, area, external_id, name, star_rating, guest_rating,
                            guest_rating_count, latitude, longitude, image_url, received)
    SELECT {}, {}::bigint, {}::bigint, g.external_id, g.name, g.star_rating, g.guest_rating,
           g.guest_rating_count, g.latitude, g.longitude, g.image_url, g.received::jsonb
    FROM unnest({}::text[], {}::text[], {}::smallint[], {}::double precision[], {}::integer[],
                {}::double precision[], {}::double precision[], {}::text[], {}::text[])
        AS g(external_id, name, star_rating, guest_rating, guest_rating_count, latitude, longitude,
             image_url, received)
    ORDER BY g.external_id
    ON CONFLICT (provider, external_id) DO UPDATE SET
        name = excluded.name,
        destination = coalesce(excluded.destination, h.destination),
        area = coalesce(excluded.area, h.area),
        star_rating = coalesce(excluded.star_rating, h.star_rating),
        guest_rating = coalesce(excluded.guest_rating, h.guest_rating),
        guest_rating_count = coalesce(excluded.guest_rating_count, h.guest_rating_count),
        latitude = coalesce(excluded.latitude, h.latitude),
        longitude = coalesce(excluded.longitude, h.longitude),
        image_url = coalesce(excluded.image_url, h.image_url),
        received = coalesce(excluded.received, h.received),
        updated_at = now()
    RETURNING id, external_id
"""

#: Reads the places to search for hotels of one destination: its tracked areas, or the whole
#: destination if it has none. Placeholders: destination.
SEARCHED_PLACES = """
    SELECT d.id, d.name, d.is_active, d.tracking, d.tracking_days, a.id AS area,
           concat_ws(', ', a.name, d.name, c.name) AS query
    FROM destination AS d JOIN country AS c ON c.id = d.country
    LEFT JOIN area AS a ON a.destination = d.id AND a.tracking AND a.is_active
    WHERE d.id = {} ORDER BY a.id
"""

TRACKED_DESTINATIONS = """
    SELECT d.id, d.name, c.name AS country, d.tracking_days
    FROM destination AS d JOIN country AS c ON c.id = d.country
    WHERE d.tracking AND d.is_active ORDER BY d.id
"""

ACTIVE_HOTELS = "SELECT id FROM hotel WHERE is_active ORDER BY id"

#: Reads hotels that a task is about to update. `is_fresh` is true if the hotel was already updated
#: after the task was submitted. Placeholders: task, id[].
HOTELS = """
    SELECT id, provider, external_id, name,
           coalesce(synced_at >= uuid_extract_timestamp({}::uuid), false) AS is_fresh
    FROM hotel WHERE id = ANY({}::bigint[]) ORDER BY id
"""

#: Updates a hotel with newer data of its provider. Placeholders: id, name, star_rating,
#: guest_rating, guest_rating_count, received.
REFRESH_HOTEL = """
    UPDATE hotel SET name = coalesce(g.name, hotel.name),
        star_rating = coalesce(g.star_rating, hotel.star_rating),
        guest_rating = coalesce(g.guest_rating, hotel.guest_rating),
        guest_rating_count = coalesce(g.guest_rating_count, hotel.guest_rating_count),
        received = g.received, synced_at = now(), updated_at = now()
    FROM (SELECT {}::bigint AS id, {}::text AS name, {}::smallint AS star_rating,
                 {}::double precision AS guest_rating, {}::integer AS guest_rating_count,
                 {}::text::jsonb AS received) AS g
    WHERE hotel.id = g.id
"""
