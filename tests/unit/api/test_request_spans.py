"""Tests of the tracing span of an API request."""

from typing import Any

import pytest

from services.api.http import request_spans
from tests.recorded_spans import RecordedSpan, RecordedSpans


@pytest.mark.parametrize(
    ("status", "template", "name", "attributes", "error_type"),
    [
        (
            202,
            "/api/v1/tasks/{task_id}",
            "POST /api/v1/tasks/{task_id}",
            {"http.route": "/api/v1/tasks/{task_id}", "http.response.status_code": 202},
            None,
        ),
        (404, None, "POST", {"http.response.status_code": 404}, None),
        (503, None, "POST", {"http.response.status_code": 503}, "503"),
        (None, None, "POST", {}, None),
    ],
)
def test_it_is_named_after_its_route_and_has_no_address(
    status: int | None, template: str | None, name: str, attributes: dict[str, Any], error_type: str | None
) -> None:
    span: RecordedSpan = RecordedSpans().begin("POST", "SERVER", {}, parent=None, links=())
    scope: Any = {"method": "POST", "path": "/api/v1/tasks/7?token=8", "path_template": template}
    request_spans.describe(span, scope, status)
    assert (span.name, span.attributes, span.error_type) == (name, attributes, error_type)
