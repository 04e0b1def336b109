"""The tables of workers, of the leading scheduler and the requests to it, and of what Redis should
contain.
"""

from piccolo.columns import JSONB, UUID, Array, BigInt, Boolean, Integer, SmallInt, Text, Timestamptz
from piccolo.table import Table


class Worker(Table, tablename="worker"):
    """A worker process. It gets a new id at each start."""

    id = UUID(primary_key=True)
    hostname = Text()
    pid = Integer()
    queues = Array(base_column=Text())
    threads = SmallInt()
    #: Protocol number of the worker's release; see `shared.ledger.protocol`.
    protocol = SmallInt(default=0)
    #: State of the worker: running, quiet (it takes no new tasks) or draining.
    state = Text(default="running")
    #: Request of an operator to the worker: quiet, drain or recycle (replace its process). The
    #: worker reads it with each heartbeat.
    asked = Text(null=True, default=None)
    #: Release of the worker's code, `shared.release.RELEASE`; null for older releases that did not
    #: write it.
    release = Text(null=True, default=None)
    #: Resident memory of the worker process in bytes at the last heartbeat.
    memory_bytes = BigInt(null=True, default=None)
    #: Key of the advisory lock that the worker holds on a separate connection as long as it lives.
    lock_key = BigInt()
    #: Number that goes up with each heartbeat.
    beat = BigInt(default=0)
    started_at = Timestamptz()
    heartbeat_at = Timestamptz()
    #: Time at which the rescuer declared the worker dead. Anything that the worker writes
    #: afterwards has no effect.
    dead_at = Timestamptz(null=True, default=None)
    #: Time at which the worker ended after a drain. The worker itself writes it.
    stopped_at = Timestamptz(null=True, default=None)


class Generation(Table, tablename="generation"):
    """What Redis should contain, according to Postgres. The table has a single row."""

    id = SmallInt(primary_key=True)
    #: Number of the generation, which Redis stores too. If the number in Redis is missing or
    #: different, Redis has lost its lanes.
    number = BigInt()
    #: Run id of Redis at the last successful check. A different run id means that Redis was
    #: restarted.
    run_id = Text(null=True)
    #: Position at which the resending of all tasks to Redis was interrupted: [queue, priority,
    #: sent_at, id].
    resend_cursor = JSONB(null=True)
    checked_at = Timestamptz()
    #: Id of this database. Redis stores it to show which system its data belongs to.
    system = UUID()


class LeaderLease(Table, tablename="leader_lease"):
    """The lease of the leading scheduler.

    Its end is set and compared by the clock of Postgres.
    """

    name = Text(primary_key=True)
    term = BigInt()
    holder = UUID()
    expires_at = Timestamptz()


class CleanupRequest(Table, tablename="cleanup_request"):
    """The request of a cleanup task that the leading scheduler drop old days of tasks.

    No other process has the right to drop days.
    """

    #: Id of the cleanup task that made the request.
    task = UUID(primary_key=True)
    #: Time before which a day must have ended to be dropped.
    cutoff = Timestamptz()
    requested_at = Timestamptz()
    #: Time at which the leading scheduler last worked on the request.
    seen_at = Timestamptz(null=True, default=None)
    #: True if the cleanup task was canceled. The leading scheduler then stops before the next day.
    cancelled = Boolean(default=False)
    #: Number of days that the leading scheduler has finished, and the total number of days.
    done = Integer(default=0)
    days = Integer(default=0)
    #: Result of the cleanup; null until the leading scheduler has finished.
    result = JSONB(null=True, default=None)
