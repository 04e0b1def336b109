"""SQL for the statistics of ended attempts, which are stored per minute and later per hour.

The statistics may be incomplete: a process that is killed loses the counts of its last seconds.
"""

from shared.ledger.statement import Statement

#: Upper bounds in seconds of the histograms of waiting times and run times. They must never change,
#: because stored rows contain the counts by position. The histograms in Prometheus have finer
#: bounds.
WAIT_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
RUN_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800)
#: Number of hours for which the rows of minutes are kept, and of days for which those of hours are.
#: A time series of two days reads minutes, and its first step may begin up to an hour earlier.
MINUTE_HOURS, HOUR_DAYS = 50, 400
#: Number of minutes after which no process adds to an hour that has ended. Counts are stored in the
#: minute in which their transaction began.
SETTLE_MIN = 5

#: Number of buckets of each histogram column. The last bucket has no upper bound.
HISTOGRAMS = {"wait_hist": len(WAIT_BUCKETS) + 1, "run_hist": len(RUN_BUCKETS) + 1}

COLUMNS = "queue, name, outcome, n, wait_s, run_s, max_run_s, wait_hist, run_hist"


def summed(histogram: str) -> str:
    """SQL expression that adds up a histogram column over several rows."""
    parts = (f"coalesce(sum({histogram}[{number}]), 0)" for number in range(1, HISTOGRAMS[histogram] + 1))
    return f"ARRAY[{', '.join(parts)}]::bigint[]"


def _added(histogram: str) -> str:
    numbers = range(1, HISTOGRAMS[histogram] + 1)
    parts = (f"coalesce(t.{histogram}[{n}], 0) + coalesce(excluded.{histogram}[{n}], 0)" for n in numbers)
    return f"{histogram} = ARRAY[{', '.join(parts)}]::bigint[]"


_ADD = f"""
    n = t.n + excluded.n, wait_s = t.wait_s + excluded.wait_s, run_s = t.run_s + excluded.run_s,
    max_run_s = greatest(t.max_run_s, excluded.max_run_s), {_added("wait_hist")}, {_added("run_hist")}
"""

#: Adds counts to the rows of the current minute. `rows` is a JSON array. It is sorted, so that two
#: processes lock the rows in the same order and cannot deadlock.
ADD = Statement(f"""
    INSERT INTO task_minute AS t (minute, {COLUMNS})
    SELECT date_trunc('minute', now()), {COLUMNS} FROM jsonb_to_recordset(:rows::text::jsonb) AS g(
        queue text, name text, outcome text, n bigint, wait_s float8, run_s float8,
        max_run_s float8, wait_hist bigint[], run_hist bigint[]
    )
    ORDER BY queue, name, outcome
    ON CONFLICT (minute, queue, name, outcome) DO UPDATE SET {_ADD}
""")

#: SQL expression for the end of the last hour that has rows of its own. Everything before it is in
#: `task_hour`, everything after it only in `task_minute`.
SUMMED_UNTIL = "(SELECT coalesce(max(hour) + interval '1 hour', '-infinity') FROM task_hour)"

#: Sums the minutes of the oldest hour that has no rows of its own, if it has ended. The minutes
#: remain. Returns the hour.
FOLD = Statement(f"""
    WITH oldest AS (
        SELECT date_trunc('hour', min(minute), 'UTC') AS hour FROM task_minute WHERE minute >= {SUMMED_UNTIL}
    ), due AS (
        SELECT hour FROM oldest WHERE hour + interval '1 hour {SETTLE_MIN} minutes' <= now()
    ), folded AS (
        INSERT INTO task_hour (hour, {COLUMNS})
        SELECT due.hour, queue, name, outcome, sum(n), sum(wait_s), sum(run_s), max(max_run_s),
               {summed("wait_hist")}, {summed("run_hist")}
        FROM due JOIN task_minute AS m ON m.minute >= due.hour AND m.minute < due.hour + interval '1 hour'
        GROUP BY due.hour, queue, name, outcome
        ON CONFLICT DO NOTHING
    )
    SELECT hour FROM due
""")

#: Deletes old minutes, except those that are not summed yet.
DROP_MINUTES = Statement(f"""
    DELETE FROM task_minute
    WHERE minute < now() - interval '{MINUTE_HOURS} hours' AND minute < {SUMMED_UNTIL}
""")

DROP = Statement(f"DELETE FROM task_hour WHERE hour < now() - interval '{HOUR_DAYS} days'")
