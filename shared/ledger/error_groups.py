"""Groups failed attempts by the cause of their error, to count how often each cause occurs.

Groups are statistics and may lose counts. Each task and attempt stores its own error and
fingerprint.
"""

from enum import StrEnum

from shared.ledger.statement import Statement

#: Maximum number of error groups per kind of task. Errors with further causes are counted in one
#: common group, `other:<name>`.
MAX_GROUPS = 2_000
OTHER = "other:"
#: Number of days after which hourly counts of an error group are deleted, and number of days
#: without an error after which the group itself is deleted.
HOUR_DAYS, GROUP_DAYS = 30, 400


class State(StrEnum):
    """The state of an error group, which an operator decides."""

    #: No operator has decided anything about the error yet.
    OPEN = "open"
    #: The error is known and being worked on.
    ACKNOWLEDGED = "acknowledged"
    #: The error is known and ignored, until a given time or permanently.
    MUTED = "muted"
    #: The error is fixed and should not occur again.
    RESOLVED = "resolved"
    #: The error occurred again, in a newer release than before, after an operator had resolved it.
    REGRESSED = "regressed"


#: SQL expression for the current state of an error group `g`: a mute that has expired counts as
#: open.
STATE_NOW = "CASE WHEN g.state = 'muted' AND g.until <= now() THEN 'open' ELSE g.state END"


def _version(release: str) -> str:
    """SQL expression that converts the version of a release to an array of numbers.

    Such arrays compare in the order of versions. Null if the release has no version.
    """
    return rf"string_to_array(substring({release} from '^\d+(?:\.\d+)*'), '.')::numeric[]"


_IS_NEWER = f"({_version('excluded.last_release')} > {_version('g.last_release')})"

#: Adds failed attempts to the counts of their error groups. `rows` is a JSON array with one row per
#: fingerprint. The rows are sorted, so that two processes lock the groups in the same order and
#: cannot deadlock. If a task was erased after it failed, its message is left out. A lock on the row
#: of the task keeps it from being erased at the same time.
ADD = Statement(f"""
    WITH given AS MATERIALIZED (
        SELECT r.*, g.fingerprint IS NULL AS is_new FROM jsonb_to_recordset(:rows::text::jsonb) AS r(
            fingerprint text, name text, kind text, type text, place text, message text, sample_task uuid,
            release text, attempts bigint, tasks bigint
        ) LEFT JOIN error_group AS g USING (fingerprint)
    ), sizes AS (
        SELECT name, count(*) AS size FROM error_group
        WHERE name IN (SELECT name FROM given WHERE is_new) GROUP BY name
    ), numbered AS (
        SELECT given.*, coalesce(size, 0)
            + row_number() OVER (PARTITION BY name, is_new ORDER BY fingerprint) AS number
        FROM given LEFT JOIN sizes USING (name)
    ), placed AS (
        SELECT *, is_new AND number > {MAX_GROUPS} AS is_other FROM numbered
    ), merged AS (
        SELECT CASE WHEN is_other THEN '{OTHER}' || name ELSE fingerprint END AS fingerprint,
               min(name) AS name, max(kind) AS kind, min(CASE WHEN NOT is_other THEN type END) AS type,
               min(CASE WHEN NOT is_other THEN place END) AS place,
               (array_agg(message ORDER BY sample_task DESC))[1] AS message,
               (array_agg(sample_task ORDER BY sample_task DESC))[1] AS sample_task,
               max(release) AS release, sum(attempts) AS attempts, sum(tasks) AS tasks
        FROM placed GROUP BY 1 ORDER BY 1
    ), samples AS MATERIALIZED (
        SELECT id, completed_at IS NOT NULL AND params = '{{}}' AND num_nonnulls(result, error_message) = 0
                   AS is_erased
        FROM task WHERE id IN (SELECT sample_task FROM merged) ORDER BY id FOR KEY SHARE
    ), groups AS (
        INSERT INTO error_group AS g (fingerprint, name, kind, type, place, message, sample_task,
                                      first_at, last_at, first_release, last_release)
        SELECT fingerprint, name, kind, type, place, CASE WHEN is_erased THEN NULL ELSE message END,
               sample_task, now(), now(), release, release
        FROM merged LEFT JOIN samples ON id = sample_task ORDER BY fingerprint
        ON CONFLICT (fingerprint) DO UPDATE SET
            kind = excluded.kind, message = excluded.message, sample_task = excluded.sample_task,
            last_at = excluded.last_at,
            last_release = CASE WHEN {_IS_NEWER} THEN excluded.last_release ELSE g.last_release END,
            state = CASE WHEN g.state = 'resolved' AND {_IS_NEWER} THEN 'regressed' ELSE {STATE_NOW} END,
            until = CASE WHEN g.until > now() THEN g.until END
    )
    INSERT INTO error_hour AS h (fingerprint, hour, attempts, tasks)
    SELECT fingerprint, date_trunc('hour', now(), 'UTC'), attempts, tasks FROM merged ORDER BY fingerprint
    ON CONFLICT (fingerprint, hour) DO UPDATE
        SET attempts = h.attempts + excluded.attempts, tasks = h.tasks + excluded.tasks
""")

DROP_HOURS = Statement(f"DELETE FROM error_hour WHERE hour < now() - interval '{HOUR_DAYS} days'")
DROP_GROUPS = Statement(f"DELETE FROM error_group WHERE last_at < now() - interval '{GROUP_DAYS} days'")
