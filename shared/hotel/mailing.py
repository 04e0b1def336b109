"""Which mails a person wants."""

from piccolo.columns import UUID, ForeignKey, Text, Timestamptz
from piccolo.columns.defaults.uuid import UUID4
from piccolo.table import Table

from shared.identity.tables import User

#: What can be unsubscribed from; purely transactional mail cannot.
PRICE_ALERTS = "price_alerts"


class MailPreference(Table, tablename="mail_preference"):
    """One kind of mail to one person, made with the first mail; primary key (user, kind)."""

    user = ForeignKey(User, primary_key=True, null=False)
    kind = Text()
    #: In the unsubscribe link; opaque, and good for nothing else.
    token = UUID(default=UUID4(), unique=True)
    #: Null: wanted.
    opted_out_at = Timestamptz(null=True, default=None)


#: values: user, kind. Returns token and opted_out.
PREFERENCE = """
    INSERT INTO mail_preference AS p ("user", kind) VALUES ({}, {})
    ON CONFLICT ("user", kind) DO UPDATE SET kind = p.kind
    RETURNING token, opted_out_at IS NOT NULL AS opted_out
"""

#: values: token. Returns nothing for an unknown token.
UNSUBSCRIBE = """
    UPDATE mail_preference SET opted_out_at = coalesce(opted_out_at, now()) WHERE token = {} RETURNING kind
"""

#: values: user, kind, wanted. Returns wanted.
CHOOSE = """
    INSERT INTO mail_preference AS p ("user", kind, opted_out_at)
    SELECT g.account, g.kind, CASE WHEN NOT g.wanted THEN now() END
    FROM (SELECT {}::bigint AS account, {}::text AS kind, {}::boolean AS wanted) AS g
    ON CONFLICT ("user", kind) DO UPDATE SET opted_out_at = CASE
        WHEN excluded.opted_out_at IS NULL THEN NULL ELSE coalesce(p.opted_out_at, now()) END
    RETURNING opted_out_at IS NULL AS wanted
"""

TABLES: tuple[type[Table], ...] = (MailPreference,)
