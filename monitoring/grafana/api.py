"""What clients see."""

from monitoring.grafana.panels import PanelBuilder, Query, lines


def panels() -> list[PanelBuilder]:
    return [
        lines(
            "Requests, by route",
            "Per second.",
            Query(
                "sum by (method, path) (method_path_status:often_http_requests:rate1m)", "{{method}} {{path}}"
            ),
            unit="reqps",
        ),
        lines(
            "Requests, by status",
            "Per second. 503 is a server that is away, 429 a rate limit, 500 a defect with its traceback in "
            "the log.",
            Query("sum by (status_code) (method_path_status:often_http_requests:rate1m)", "{{status_code}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Duration, p95 by route",
            "Seconds for what took milliseconds: look at Postgres, and at the CPU of the API's processes.",
            Query(
                "histogram_quantile(0.95, path_le:often_http_request_duration_seconds_bucket:rate5m)",
                "{{path}}",
            ),
            unit="s",
        ),
    ]
