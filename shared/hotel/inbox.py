"""What reaches people: where they take pushes, and what was sent to whom."""

from piccolo.columns import UUID, BigSerial, ForeignKey, Text, Timestamptz
from piccolo.table import Table

from shared.identity.tables import User


class PushSubscription(Table, tablename="push_subscription"):
    """One browser on one device (`PushSubscription.toJSON()`)."""

    id = BigSerial(primary_key=True)
    user = ForeignKey(User, null=False)
    #: Secret: whoever knows it can bother the user.
    endpoint = Text(unique=True, secret=True)
    #: base64url, a point of P-256.
    p256dh = Text(secret=True)
    #: base64url, 16 bytes.
    auth = Text(secret=True)
    created_at = Timestamptz()
    last_used_at = Timestamptz(null=True, default=None)


class NotificationLog(Table, tablename="notification_log"):
    """One message to one target; primary key (task, channel, target). What is `sent` is not sent again."""

    task = UUID(primary_key=True)
    #: email or push.
    channel = Text()
    #: The address, or the subscription's number.
    target = Text()
    user = ForeignKey(User, null=True, default=None)
    #: Which mail, `welcome`; or the title of a push.
    subject = Text()
    #: sending, sent, failed, removed.
    status = Text()
    error = Text(null=True, default=None)
    created_at = Timestamptz()
    sent_at = Timestamptz(null=True, default=None)


TABLES: tuple[type[Table], ...] = (PushSubscription, NotificationLog)

#: Of one user: each of them costs a push up to 15 s, which all have to fit into one attempt.
MOST_SUBSCRIPTIONS = 20

#: A rerun finds what an earlier attempt did. `sending` means: it died in between, nobody knows.
#: values: task, channel, target, user, subject. Returns status: `new`, or that of before.
BEGIN_SENDING = """
    INSERT INTO notification_log AS n (task, channel, target, "user", subject, status)
    VALUES ({}, {}, {}, {}, {}, 'sending')
    ON CONFLICT (task, channel, target) DO UPDATE SET status = n.status
    RETURNING CASE WHEN xmax = 0 THEN 'new' ELSE status END AS status
"""

#: values: status, error, sent, task, channel, target.
END_SENDING = """
    UPDATE notification_log SET status = {}, error = {}, sent_at = CASE WHEN {} THEN now() END
    WHERE task = {} AND channel = {} AND target = {}
"""

#: What became of a task's messages. values: task, channel. Returns status and how many have it.
SENDINGS = """
    SELECT status, count(*) AS n FROM notification_log WHERE task = {} AND channel = {} GROUP BY status
"""

#: Old entries whose task has ended or is gone. A task that runs again needs its own, to send nothing twice.
#: values: created before, limit.
PRUNE_LOG = """
    WITH old AS (
        SELECT task, channel, target FROM notification_log AS n
        WHERE created_at < {} AND NOT EXISTS (
            SELECT 1 FROM task AS t WHERE t.id = n.task AND t.status NOT IN ('success', 'failure', 'revoked'))
        LIMIT {}
    )
    DELETE FROM notification_log AS n USING old
    WHERE n.task = old.task AND n.channel = old.channel AND n.target = old.target
    RETURNING 1
"""

#: values: user. None for an account that is switched off.
SUBSCRIPTIONS = """
    SELECT s.id, endpoint, p256dh, auth FROM push_subscription AS s JOIN account AS a ON a.id = s."user"
    WHERE "user" = {} AND a.is_active ORDER BY s.id
"""

#: values: id.
USED = "UPDATE push_subscription SET last_used_at = now() WHERE id = {}"

#: values: user, endpoint, p256dh, auth. A browser that somebody else used before is the new user's; of too
#: many the one that was not reached for the longest time has to go.
SUBSCRIBE = f"""
    WITH given("user", endpoint, p256dh, auth) AS (VALUES ({{}}::bigint, {{}}::text, {{}}::text, {{}}::text)),
    surplus AS (
        DELETE FROM push_subscription WHERE id IN (
            SELECT s.id FROM push_subscription AS s JOIN given AS g USING ("user")
            WHERE s.endpoint <> g.endpoint
            ORDER BY coalesce(s.last_used_at, s.created_at) DESC, s.id DESC OFFSET {MOST_SUBSCRIPTIONS - 1}
        )
    )
    INSERT INTO push_subscription AS s ("user", endpoint, p256dh, auth) SELECT * FROM given
    ON CONFLICT (endpoint) DO UPDATE SET "user" = excluded."user", p256dh = excluded.p256dh,
        auth = excluded.auth
    RETURNING id, created_at, last_used_at
"""

#: values: id.
UNSUBSCRIBE_PUSH = "DELETE FROM push_subscription WHERE id = {} RETURNING id"

#: values: user[]. Returns those who can be reached.
REACHABLE = """
    SELECT DISTINCT "user" FROM push_subscription AS s JOIN account AS a ON a.id = s."user"
    WHERE "user" = ANY({}::bigint[]) AND a.is_active
"""

#: values: user.
LIST_SUBSCRIPTIONS = """
    SELECT id, endpoint, created_at, last_used_at FROM push_subscription WHERE "user" = {} ORDER BY id
"""

#: values: id, user.
UNSUBSCRIBE_OWN = """DELETE FROM push_subscription WHERE id = {} AND "user" = {} RETURNING id"""
