"""Derives the current problems of tasks, workflows and schedules, as a part of `wrong_now`."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from services.api.operations.health_facts import RARE_H, RECENT_MIN, Facts, Row
from services.api.operations.health_schemas import Problem, Severity, Target
from services.api.words import plural, span

CRITICAL, WARNING, NOTICE = Severity.CRITICAL, Severity.WARNING, Severity.NOTICE

#: A kind of task is reported if it had at least this many failures in the last minutes and more
#: than the given share of its ended tasks failed. Above the second share, the problem is critical.
FAILURES, FAILING, MOSTLY_FAILING = 5, 0.05, 0.5
#: A kind that runs rarely is reported after this many failures without a success.
RARE_FAILURES = 2
#: A schedule is reported if its firing is late by this many seconds. Normally a firing waits less
#: than a second for the leader.
OVERDUE_S = 60
FIRINGS_FAILED = 2
WORKFLOW_EVENT_S = 5
#: Maximum number of errors that came back to list, and maximum number of kinds of tasks with new
#: errors to name.
REGRESSED, NAMES = 10, 3
#: A bulk operation is reported if it has made no progress for this many seconds. One of its chunks
#: takes less than a second.
BULK_S = 300


def problems(facts: Facts) -> Iterator[Problem]:
    """Yield the problems of tasks, workflows and schedules, in no particular order."""
    yield from _kinds(facts)
    yield from _crash_loops(facts)
    yield from _errors(facts)
    yield from _workflows(facts)
    yield from _bulk_acts(facts)
    yield from _schedules(facts)
    yield from _parked(facts)


def _kinds(facts: Facts) -> Iterator[Problem]:
    for row in facts.kinds:
        ended = row["success"] + row["failure"]
        if row["failure"] >= FAILURES and row["failure"] > FAILING * ended:
            most = row["failure"] > MOSTLY_FAILING * ended
            text = f"{row['failure']:,} of {ended:,} {row['name']} failed within {RECENT_MIN} minutes"
            yield _failing(row, text, CRITICAL if most else WARNING)
        elif row["failure_rare"] >= RARE_FAILURES and not row["success_rare"]:
            text = f"{row['name']} only fails: {row['failure_rare']:,} times within {RARE_H} hours"
            yield _failing(row, text, WARNING)


def _failing(row: Row, sentence: str, severity: Severity) -> Problem:
    return Problem(
        code="kind-fails",
        severity=severity,
        sentence=sentence,
        target=Target("kind", row["name"]),
        remedy="Read one failure, remove the cause, then retry what failed.",
        link=f"/api/v1/tasks?status=failure&name={row['name']}",
        runbook="tasks-fail",
    )


def _crash_loops(facts: Facts) -> Iterator[Problem]:
    for row in facts.crash_loops:
        yield Problem(
            code="crash-loop",
            severity=CRITICAL,
            sentence=f"{row['name']}: {plural(row['n'], 'task was', 'tasks were')} given up "
            "after killing workers repeatedly",
            target=Target("kind", row["name"]),
            since=row["last_at"],
            remedy="Remove the cause, then release them.",
            link=f"/api/v1/tasks?status=failure&name={row['name']}",
            runbook="crash-loop",
        )


def _errors(facts: Facts) -> Iterator[Problem]:
    """Yield the problems of errors that came back and of new errors.

    New errors of a kind of task that only fails are left out, because that kind is reported as a
    problem of its own.
    """
    regressed = [row for row in facts.errors if row["state"] == "regressed"]
    working = {row["name"] for row in facts.kinds if row["success_rare"]}
    new = [row for row in facts.errors if row["state"] == "open" and row["name"] in working]
    for row in regressed[:REGRESSED]:
        text = f"{row['name']} fails again with {_error(row)}, which was resolved in an older release"
        yield _group("error-regressed", WARNING, row, text, row["last_at"])
    if len(new) == 1:
        text = f"{new[0]['name']} fails with a new error: {_error(new[0])}"
        yield _group("error-new", NOTICE, new[0], text, new[0]["first_at"])
    elif new:
        yield _new_errors(new)


def _new_errors(new: Sequence[Row]) -> Problem:
    """Report all new causes of errors as one problem, because a new release may bring many."""
    names = sorted({row["name"] for row in new})
    shown = ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")
    return Problem(
        code="error-new",
        severity=NOTICE,
        sentence=f"{len(new)} new causes of errors within an hour: {shown}",
        target=Target("errors", "open"),
        since=max(row["first_at"] for row in new),
        remedy="Read the last task of each, then resolve, acknowledge or mute its group.",
        link="/api/v1/operations/errors?state=open",
        runbook="tasks-fail",
    )


def _error(row: Row) -> str:
    """Describe an error by its type and the place where it was raised."""
    kind = row["type"].rpartition(".")[2]
    return f"{kind} in {row['place']}" if row["place"] else kind


def _group(code: str, severity: Severity, row: Row, sentence: str, since: datetime) -> Problem:
    return Problem(
        code=code,
        severity=severity,
        sentence=sentence,
        target=Target("error", row["fingerprint"]),
        since=since,
        remedy="Read its last task, then resolve, acknowledge or mute the group.",
        link=f"/api/v1/operations/errors/{row['fingerprint']}",
        runbook="tasks-fail",
    )


def _workflows(facts: Facts) -> Iterator[Problem]:
    if facts.workflow_event_s > WORKFLOW_EVENT_S:
        yield Problem(
            code="workflows-stuck",
            severity=CRITICAL,
            sentence=f"Workflows do not move: the end of a step has waited for "
            f"{span(facts.workflow_event_s)}",
            target=None,
            remedy='Read the leading scheduler\'s log for its loop "workflows".',
            link="/api/v1/workflows",
            runbook="workflows-stuck",
        )


def _bulk_acts(facts: Facts) -> Iterator[Problem]:
    for row in facts.bulk_acts:
        if row["idle_s"] > BULK_S:
            yield Problem(
                code="bulk-stuck",
                severity=WARNING,
                sentence=f"A bulk {row['action'].replace('_', ' ')} has not moved for {span(row['idle_s'])}",
                target=Target("bulk", str(row["id"])),
                since=row["not_before"],
                remedy="Look at its task: it waits for a worker of its queue, or for a lock. Stop the bulk "
                "operation if it is no longer needed.",
                link=f"/api/v1/bulk/{row['id']}",
            )


def _schedules(facts: Facts) -> Iterator[Problem]:
    for row in facts.overdue:
        if row["overdue_s"] > OVERDUE_S:
            yield Problem(
                code="schedule-overdue",
                severity=CRITICAL,
                sentence=f"{row['name']} should have fired {span(row['overdue_s'])} ago",
                target=Target("schedule", row["name"]),
                remedy="Read the leading scheduler's log.",
                link=f"/api/v1/schedules/{row['name']}",
                runbook="schedule-overdue",
            )
    for name, record in facts.schedules.items():
        if record.failures >= FIRINGS_FAILED:
            yield Problem(
                code="schedule-fails",
                severity=WARNING,
                sentence=f"The last {record.failures} firings of {name} failed",
                target=Target("schedule", name),
                remedy="Its firings and their tasks say why.",
                link=f"/api/v1/schedules/{name}/firings",
                runbook="schedule-fails",
            )


def _parked(facts: Facts) -> Iterator[Problem]:
    for row in facts.parked:
        yield Problem(
            code="tasks-parked",
            severity=WARNING,
            sentence=f"{plural(row['n'], row['name'] + ' waits', row['name'] + ' wait')} in {row['queue']}: "
            f"{row['reason']}",
            target=Target("kind", row["name"]),
            remedy="Finish the deploy, or start a worker that knows this kind.",
            link=f"/api/v1/tasks?name={row['name']}",
            runbook="tasks-parked",
        )
