"""Defines alerts about how fast objectives use up their error budget, by how often a task is
expected to run.

The factors are those of Google's SRE Workbook. The Workbook's windows suit steady traffic, but at
ten tasks an hour a single failure burns the budget a thousand times too fast. A rule therefore also
requires a minimum number of failures, and rare tasks are judged by their latest outcomes instead of
a share.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DOCS = "{{ $externalLabels.docs }}/operations.md"
GRAFANA = "{{ $externalLabels.grafana }}/d"
CONSOLE = "{{ $externalLabels.console }}"
#: Upper bound for the share of failures above which a burn-rate alert fires. A burn rate cannot
#: exceed 1 / (1 - objective). So for an objective below 93 %, a fixed factor could never be
#: reached.
MAX_BAD_SHARE = 0.9
#: Number of late starts in six hours from which the alert about late starts may fire. Fewer are
#: normal in a short rush.
MANY_LATE = 20
#: Seconds between two evaluations of the Prometheus rules that record rates.
STEP_S = 30
#: Expected tasks per day from which the traffic class of a task is "high", and from which it is
#: "medium". Below, it is "low".
OFTEN, SOME = 2_000, 50
#: Name prefixes of the recorded Prometheus series about tasks, and about starts of tasks.
TASKS, STARTS = "queue_task:often_tasks", "queue:often_starts"


@dataclass(frozen=True, slots=True)
class Burn:
    """A condition on the burn rate: over both windows, the error budget burns more than `factor`
    times too fast, and in the long window there are at least this many failures.
    """

    factor: float
    long: str
    short: str
    failures: int
    classes: tuple[str, ...]

    def expr(self, urgency: str) -> str:
        """The PromQL query for this condition. It returns the share of failures where that is too
        large.

        A refusal by the outside world, such as a declined card, is not a failure.
        """
        objective = (
            f'task:often_objective_success:ratio{{traffic=~"{"|".join(self.classes)}", urgency=~"{urgency}"}}'
        )
        parts = [
            _over(self.factor, self.long, objective),
            _over(self.factor, self.short, objective),
            f"{TASKS}_bad:rate{self.long} * {seconds(self.long)} > {self.failures - 0.5:g}",
        ]
        return "\n  and on (queue, task) ".join(parts)


def _over(factor: float, window: str, objective: str) -> str:
    limit = f"clamp_max({factor:g} * (1 - {objective}), {MAX_BAD_SHARE})"
    return f"{TASKS}_bad:ratio{window} > on (queue, task) {limit}"


def seconds(window: str) -> int:
    return int(window[:-1]) * {"m": 60, "h": 3_600, "d": 86_400}[window[-1]]


FAST = Burn(14.4, "1h", "5m", 5, ("high", "unknown"))
SLOW = Burn(6, "6h", "30m", 5, ("high", "unknown"))
MEDIUM = Burn(6, "6h", "30m", 3, ("medium",))
MEDIUM_SLOW = Burn(1, "3d", "6h", 3, ("medium",))


def traffic(expected_per_day: int | None) -> str:
    """The traffic class of a task, by how often it is expected to run."""
    if expected_per_day is None:
        return "unknown"
    if expected_per_day >= OFTEN:
        return "high"
    return "medium" if expected_per_day >= SOME else "low"


def alerts() -> Iterator[dict[str, Any]]:
    yield _tasks_fail()
    yield _tasks_fail_slowly()
    yield _only_fails()
    yield _starts_late()


def _any(*expressions: str) -> str:
    return "\nor on (queue, task) ".join(f"(\n  {each}\n)" for each in expressions) + "\n"


def _unless_told(alerts: str, window: str, labels: str = "queue, task") -> str:
    """PromQL that silences an alert while one of the alerts `alerts` has fired within the window.

    A long window still contains an incident hours after the notification about it. The incident
    must not cause a second notification.
    """
    told = f'ALERTS{{alertname=~"{alerts}", alertstate="firing"}}'
    return f"unless on ({labels}) last_over_time({told}[{window}])\n"


def _tasks_fail() -> dict[str, Any]:
    return {
        "alert": "OftenTasksFail",
        "expr": _any(FAST.expr("page"), MEDIUM.expr("page")),
        "keep_firing_for": "2m",
        "labels": {"severity": "critical", "needs": "postgres"},
        "annotations": {
            "summary": "{{ $value | humanizePercentage }} of the {{ $labels.task }} tasks fail for good",
            "description": (
                "At this rate the error budget of 30 days will be used up within days. Group the\n"
                "failures by their cause, fix it, and then retry them.\n"
            ),
            **_links("tasks-fail"),
        },
    }


def _tasks_fail_slowly() -> dict[str, Any]:
    page = _any(SLOW.expr("page|ticket"), MEDIUM_SLOW.expr("page|ticket"))
    ticket = _any(FAST.expr("ticket"), MEDIUM.expr("ticket"))
    return {
        "alert": "OftenTasksFailSlowly",
        "expr": f"(\n{page}or on (queue, task) {ticket})\n{_unless_told('OftenTasksFail', '6h')}",
        "keep_firing_for": "5m",
        "labels": {"severity": "warning", "needs": "postgres"},
        "annotations": {
            "summary": "{{ $value | humanizePercentage }} of the {{ $labels.task }} tasks fail for good",
            "description": (
                "This is more than the objective allows, but it can wait until morning. Group the\n"
                "failures by their cause, fix it, and then retry them.\n"
            ),
            **_links("tasks-fail"),
        },
    }


def _only_fails() -> dict[str, Any]:
    """The alert for kinds of tasks that lately failed several times and never succeeded.

    For rarely run tasks it looks at a whole day, and two failures are enough.
    """
    rare = 'task:often_objective_success:ratio{traffic="low"}'
    often = _without_success("6h", 2.5)
    rarely = f"{_without_success('1d', 1.5)}\n  and on (queue, task) {rare}"
    return {
        "alert": "OftenTaskOnlyFails",
        "expr": f"({often}\nor on (queue, task) (\n  {rarely}\n))\n"
        + _unless_told("OftenTasksFail|OftenTasksFailSlowly", "1d"),
        "labels": {"severity": "warning", "needs": "postgres"},
        "annotations": {
            "summary": '{{ $labels.task }} failed {{ $value | printf "%.0f" }} times and never succeeded',
            "description": (
                "No task of this kind has succeeded for hours. Read the error of the latest one.\n"
            ),
            **_links("task-only-fails"),
        },
    }


def _without_success(window: str, failures: float) -> str:
    bad = f"sum_over_time({TASKS}_bad:rate5m[{window}]) * {STEP_S}"
    good = f"max_over_time({TASKS}_good:rate5m[{window}]) > 0"
    return f"({bad} > {failures:g} unless on (queue, task) {good})"


def _starts_late() -> dict[str, Any]:
    limit = f"clamp_max(6 * (1 - queue:often_objective_start:ratio), {MAX_BAD_SHARE})"
    long, short = (f"{STARTS}_bad:ratio{window} > on (queue) {limit}" for window in ("6h", "30m"))
    count = f"{STARTS}_bad:rate6h * {seconds('6h')} > {MANY_LATE}"
    return {
        "alert": "OftenTasksStartLate",
        "expr": f"{long}\n  and on (queue) {short}\n  and on (queue) {count}\n"
        + _unless_told("OftenNoWorker|OftenQueue.+", "6h", "queue")
        + _unless_told("OftenNoWorkerAtAll|OftenPostgresAway|OftenRedisAway|OftenLedgerRefuses", "6h", ""),
        "for": "1m",
        "labels": {"severity": "warning", "needs": "postgres redis"},
        "annotations": {
            "summary": "{{ $value | humanizePercentage }} of the tasks in {{ $labels.queue }} start too late",
            "description": (
                "For hours, tasks have started later than their objective. Add workers, or find out what\n"
                "keeps the threads busy.\n"
            ),
            "runbook_url": f"{DOCS}#tasks-start-late",
            "dashboard_url": f"{GRAFANA}/often-queue?var-queue={{{{ $labels.queue }}}}",
            "console_url": f"{CONSOLE}/queues",
        },
    }


def _links(anchor: str) -> dict[str, str]:
    failed = f"{CONSOLE}/tasks?status=failure&name={{{{ $labels.task }}}}"
    return {
        "runbook_url": f"{DOCS}#{anchor}",
        "dashboard_url": f"{GRAFANA}/often-task?var-task={{{{ $labels.task }}}}",
        "console_url": failed,
    }
