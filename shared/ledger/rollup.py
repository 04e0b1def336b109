"""SQL for the statistics of ended attempts, which are stored per minute and later per hour.

The statistics may be incomplete: a process that is killed loses the counts of its last seconds.
"""

from shared.ledger.statement import Statement

#: Upper bounds in seconds of the histograms of waiting times and run times. They must never change,
#: because stored rows contain the counts by position. The histograms in Prometheus have finer
#: bounds.
WAIT_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
RUN_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800)
#: Number of days after which the rows of minutes are combined into rows of hours, and after which
#: the rows of hours are deleted.
MINUTE_DAYS, HOUR_DAYS = 2, 400

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

#: Combines the rows of minutes of the oldest hour into rows of that hour, if it is old enough.
#: Returns the hour.
FOLD = Statement(f"""
    WITH oldest AS (
        SELECT date_trunc('hour', min(minute), 'UTC') AS hour FROM task_minute
    ), due AS (
        SELECT hour FROM oldest WHERE hour < date_trunc('hour', now() - interval '{MINUTE_DAYS} days', 'UTC')
    ), gone AS (
        DELETE FROM task_minute AS m USING due
        WHERE m.minute >= due.hour AND m.minute < due.hour + interval '1 hour' RETURNING m.*
    ), folded AS (
        INSERT INTO task_hour AS t (hour, {COLUMNS})
        SELECT due.hour, queue, name, outcome, sum(n), sum(wait_s), sum(run_s), max(max_run_s),
               {summed("wait_hist")}, {summed("run_hist")}
        FROM gone, due GROUP BY due.hour, queue, name, outcome
        ON CONFLICT (hour, queue, name, outcome) DO UPDATE SET {_ADD}
    )
    SELECT hour FROM due
""")

DROP = Statement(f"DELETE FROM task_hour WHERE hour < now() - interval '{HOUR_DAYS} days'")
