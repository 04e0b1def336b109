"""Defines the Grafana dashboard "Servers": do the API, Postgres, Redis and the outside services
answer, and how full are they?
"""

from monitoring.grafana.panels import PanelBuilder, Query, lines, or_zero

TITLE = "Servers"
QUESTION = "Do the API, Postgres, Redis and the outside services answer, and how full are they?"
CHOICES: tuple[str, ...] = ()


def panels() -> list[PanelBuilder]:
    return [*_api(), *_outside(), *_postgres(), *_redis()]


def _api() -> list[PanelBuilder]:
    return [
        lines(
            "Which requests arrive?",
            "Requests per second, by route.",
            Query(
                "sum by (method, path) (method_path_status:often_http_requests:rate1m)", "{{method}} {{path}}"
            ),
            unit="reqps",
        ),
        lines(
            "Which requests fail?",
            "Requests per second, by status. 503 means that a server is away, 429 a rate limit, and 500 a "
            "bug whose traceback is in the log.",
            Query(
                or_zero(
                    "sum by (status_code)"
                    ' (method_path_status:often_http_requests:rate1m{status_code=~"[45].."})'
                ),
                "{{status_code}}",
            ),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "How long do requests take?",
            "p95 by route. The red line is the objective for submissions.",
            Query(
                "histogram_quantile(0.95, path_le:often_http_request_duration_seconds_bucket:rate5m)",
                "{{path}}",
            ),
            unit="s",
            limit=1,
        ),
    ]


def _outside() -> list[PanelBuilder]:
    return [
        lines(
            "Do the outside services answer?",
            "Requests per second, by outcome. `away`: there was no answer, or one with a 5xx status. "
            "`resting`: the request was not sent, because the service had failed five times in a row.",
            Query(
                or_zero("sum by (service, outcome) (rate(often_outside_requests_total[5m])) > 0"),
                "{{service}} {{outcome}}",
            ),
            unit="reqps",
        ),
        lines(
            "How long do the outside services take?",
            "p95 of the time from the request to the end of the answer.",
            Query(
                "histogram_quantile("
                "0.95, sum by (service, le) (rate(often_outside_request_seconds_bucket[5m])))",
                "{{service}}",
            ),
            unit="s",
        ),
        lines(
            "Which outside services are not called?",
            "Parts of a service that are not called for 30 s, because they failed.",
            Query("max by (service) (often_outside_circuits_open)", "{{service}}"),
            unit="short",
        ),
    ]


def _postgres() -> list[PanelBuilder]:
    return [
        lines(
            "Does Postgres refuse statements?",
            "Refusals per minute, by class of SQLSTATE: 25 read-only, 53 out of resources, 55 locks, 57 "
            "canceled. Above the red line, an alert fires.",
            Query(
                or_zero("sum by (sqlstate_class) (increase(often_postgres_refusals_total[1m]))"),
                "{{sqlstate_class}}",
            ),
            unit="short",
            limit=5.5,
        ),
        lines(
            "How many connections are open?",
            "Connections by state. The red line is the number that Postgres allows.",
            Query("sum by (state) (pg_stat_activity_count)", "{{state}}"),
            unit="short",
            stacked=True,
            limit="max(pg_settings_max_connections)",
        ),
        lines(
            "How old is the oldest transaction?",
            "An old transaction keeps dead rows from being removed.",
            Query("max by (state) (pg_stat_activity_max_tx_duration)", "{{state}}"),
            unit="s",
            limit=900,
        ),
        lines(
            "How large is the database?",
            "Bytes on disk, without the write-ahead log.",
            Query("sum by (datname) (pg_database_size_bytes)", "{{datname}}"),
            unit="bytes",
        ),
        lines(
            "How many partitions are there?",
            "Partitions of each table. Above the red line, the daily cleanup does not do its work.",
            Query("max by (table) (often_ledger_partitions)", "{{table}}"),
            unit="short",
            limit="max(often_ledger_partitions_limit) + 3",
        ),
        lines(
            "How full are the disks?",
            "Used share of each volume.",
            Query(
                "1 - min by (mountpoint) (node_filesystem_avail_bytes / node_filesystem_size_bytes)",
                "{{mountpoint}}",
            ),
            unit="percentunit",
            limit=0.85,
        ),
    ]


def _redis() -> list[PanelBuilder]:
    return [
        lines(
            "How much of its memory does Redis use?",
            "When its memory is full, Redis refuses ids, and tasks wait in Postgres.",
            Query("max(redis_memory_used_bytes)", "used"),
            unit="bytes",
            limit="max(redis_memory_max_bytes)",
        ),
        lines(
            "How many commands does Redis run?",
            "Commands per second.",
            Query("sum(rate(redis_commands_processed_total[1m]))", "commands"),
            unit="ops",
        ),
        lines(
            "How many clients does Redis have?",
            "Open connections. Each process holds a few.",
            Query("max(redis_connected_clients)", "clients"),
            unit="short",
        ),
    ]
