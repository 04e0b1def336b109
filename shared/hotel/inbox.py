"""Tables and SQL statements for messages to users: push subscriptions and a log of messages."""

from piccolo.columns import UUID, BigSerial, ForeignKey, Text, Timestamptz
from piccolo.table import Table

from shared.identity.tables import User


class PushSubscription(Table, tablename="push_subscription"):
    """The push subscription of one browser on one device (`PushSubscription.toJSON()`)."""

    id = BigSerial(primary_key=True)
    user = ForeignKey(User, null=False)
    #: URL at the push service to which messages are sent. It is secret, because anyone who has it
    #: can send messages to the user.
    endpoint = Text(unique=True, secret=True)
    #: The browser's public key, with which messages are encrypted: a point of the curve P-256 in
    #: base64url.
    p256dh = Text(secret=True)
    #: The authentication secret of the subscription: 16 bytes in base64url.
    auth = Text(secret=True)
    created_at = Timestamptz()
    last_used_at = Timestamptz(null=True, default=None)


class NotificationLog(Table, tablename="notification_log"):
    """A log entry about one mail or push message to one recipient.

    The primary key is (task, channel, target). A message with status `sent` is not sent again.
    """

    task = UUID(primary_key=True)
    #: Channel of the message: email or push.
    channel = Text()
    #: Recipient of the message: the mail address, or the id of the push subscription.
    target = Text()
    user = ForeignKey(User, null=True, default=None)
    #: Subject of the message: the kind of mail, such as `welcome`, or the title of a push message.
    subject = Text()
    #: Status of the message: sending, sent, failed or removed.
    status = Text()
    error = Text(null=True, default=None)
    created_at = Timestamptz()
    sent_at = Timestamptz(null=True, default=None)


TABLES: tuple[type[Table], ...] = (PushSubscription, NotificationLog)

#: Maximum number of push subscriptions per user. A push to each may take up to 15 s, and all pushes
#: must fit into one attempt of a task.
MAX_SUBSCRIPTIONS = 20

#: Adds the log entry of a message before it is sent, or returns the entry of an earlier attempt. A
#: returned status `sending` means that the earlier attempt died before it recorded the outcome.
#: Placeholders: task, channel, target, user, subject. Returns status, which is `new` for an added
#: entry.
BEGIN_SENDING = """
    INSERT INTO notification_log AS n (task, channel, target, "user", subject, status)
    VALUES ({}, {}, {}, {}, {}, 'sending')
    ON CONFLICT (task, channel, target) DO UPDATE SET status = n.status
    RETURNING CASE WHEN xmax = 0 THEN 'new' ELSE status END AS status
"""

#: Records whether a message was sent. Placeholders: status, error, sent, task, channel, target.
END_SENDING = """
    UPDATE notification_log SET status = {}, error = {}, sent_at = CASE WHEN {} THEN now() END
    WHERE task = {} AND channel = {} AND target = {}
"""

#: Counts the messages of a task by status. Placeholders: task, channel. Returns status and n.
SENDINGS = """
    SELECT status, count(*) AS n FROM notification_log WHERE task = {} AND channel = {} GROUP BY status
"""

#: Deletes old log entries of messages whose task has ended or was deleted. A task that may run
#: again needs its entries, so that it does not send a message twice. Placeholders: created before,
#: limit.
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

#: Reads the push subscriptions of a user. Returns no row for a deactivated account. Placeholders:
#: user.
SUBSCRIPTIONS = """
    SELECT s.id, endpoint, p256dh, auth FROM push_subscription AS s JOIN account AS a ON a.id = s."user"
    WHERE "user" = {} AND a.is_active ORDER BY s.id
"""

#: Records the time at which a message was successfully sent to a push subscription. Placeholders:
#: id.
USED = "UPDATE push_subscription SET last_used_at = now() WHERE id = {}"

#: Adds a push subscription. If the browser was subscribed by another user, its subscription moves
#: to the new one. If the user has more than MAX_SUBSCRIPTIONS, the least recently used ones are
#: deleted. Placeholders: user, endpoint, p256dh, auth.
SUBSCRIBE = f"""
    WITH given("user", endpoint, p256dh, auth) AS (VALUES ({{}}::bigint, {{}}::text, {{}}::text, {{}}::text)),
    surplus AS (
        DELETE FROM push_subscription WHERE id IN (
            SELECT s.id FROM push_subscription AS s JOIN given AS g USING ("user")
            WHERE s.endpoint <> g.endpoint
            ORDER BY coalesce(s.last_used_at, s.created_at) DESC, s.id DESC OFFSET {MAX_SUBSCRIPTIONS - 1}
        )
    )
    INSERT INTO push_subscription AS s ("user", endpoint, p256dh, auth) SELECT * FROM given
    ON CONFLICT (endpoint) DO UPDATE SET "user" = excluded."user", p256dh = excluded.p256dh,
        auth = excluded.auth
    RETURNING id, created_at, last_used_at
"""

#: Deletes an expired push subscription. Placeholders: id.
UNSUBSCRIBE_PUSH = "DELETE FROM push_subscription WHERE id = {} RETURNING id"

#: Returns those of the given users who have a push subscription and an active account.
#: Placeholders: user[].
REACHABLE = """
    SELECT DISTINCT "user" FROM push_subscription AS s JOIN account AS a ON a.id = s."user"
    WHERE "user" = ANY({}::bigint[]) AND a.is_active
"""

#: Lists a user's push subscriptions. Placeholders: user.
LIST_SUBSCRIPTIONS = """
    SELECT id, endpoint, created_at, last_used_at FROM push_subscription WHERE "user" = {} ORDER BY id
"""

#: Deletes a push subscription if it belongs to the user. Placeholders: id, user.
UNSUBSCRIBE_OWN = """DELETE FROM push_subscription WHERE id = {} AND "user" = {} RETURNING id"""
