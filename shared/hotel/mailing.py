"""Stores which kinds of mail each person wants."""

from piccolo.columns import UUID, ForeignKey, Text, Timestamptz
from piccolo.columns.defaults.uuid import UUID4
from piccolo.table import Table

from shared.identity.tables import User

#: Kind of mail from which users can unsubscribe. Mail about a payment or an account cannot be
#: unsubscribed from.
PRICE_ALERTS = "price_alerts"


class MailPreference(Table, tablename="mail_preference"):
    """One user's choice about one kind of mail, created with the first mail of this kind.

    The primary key is (user, kind).
    """

    user = ForeignKey(User, primary_key=True, null=False)
    kind = Text()
    #: Random part of the unsubscribe link in a mail. It gives access to nothing else.
    token = UUID(default=UUID4(), unique=True)
    #: Time at which the user unsubscribed from this kind of mail; null if the user wants it.
    opted_out_at = Timestamptz(null=True, default=None)


#: Reads a user's choice about a kind of mail, or creates it. Placeholders: user, kind. Returns
#: token and opted_out.
PREFERENCE = """
    INSERT INTO mail_preference AS p ("user", kind) VALUES ({}, {})
    ON CONFLICT ("user", kind) DO UPDATE SET kind = p.kind
    RETURNING token, opted_out_at IS NOT NULL AS opted_out
"""

#: Unsubscribes a user who has opened the link in a mail. Placeholders: token. Returns no row for an
#: unknown token.
UNSUBSCRIBE = """
    UPDATE mail_preference SET opted_out_at = coalesce(opted_out_at, now()) WHERE token = {} RETURNING kind
"""

#: Stores whether a user wants a kind of mail. Placeholders: user, kind, wanted. Returns wanted.
CHOOSE = """
    INSERT INTO mail_preference AS p ("user", kind, opted_out_at)
    SELECT g.account, g.kind, CASE WHEN NOT g.wanted THEN now() END
    FROM (SELECT {}::bigint AS account, {}::text AS kind, {}::boolean AS wanted) AS g
    ON CONFLICT ("user", kind) DO UPDATE SET opted_out_at = CASE
        WHEN excluded.opted_out_at IS NULL THEN NULL ELSE coalesce(p.opted_out_at, now()) END
    RETURNING opted_out_at IS NULL AS wanted
"""

TABLES: tuple[type[Table], ...] = (MailPreference,)
