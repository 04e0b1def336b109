"""Derives the current problems of the system: a pure function from facts to problems, worst first.

The console, `GET /operations/health` and the command line show the same list. This module judges
what runs tasks: servers, processes and queues. `wrong_tasks` judges the tasks, workflows and
schedules that are run.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from services.api.operations import wrong_tasks
from services.api.operations.health_facts import RECENT_MIN, Facts, Row
from services.api.operations.health_schemas import Problem, Severity, Target
from services.api.operations.schemas import QueueAnswer
from services.api.words import plural, span

CRITICAL, WARNING, NOTICE = Severity.CRITICAL, Severity.WARNING, Severity.NOTICE

#: The shares of Postgres' connections and of Redis' memory limit above which a warning and a
#: critical problem are reported.
SCARCE, FULL = 0.8, 0.95
#: A transaction that has lasted this many seconds is reported, because it keeps Postgres from
#: removing old row versions.
TRANSACTION_S = 600
#: Number of seconds without a leader after which this is reported. A leader that died is normally
#: replaced within 4.5 s.
LEADERLESS_S = 10
#: If a ready task has waited this many seconds although its queue has workers, this is reported.
SLOW_S = 60
#: A pause of a queue that lasts longer than this was probably forgotten, so it is reported.
PAUSE_H = 1
#: Number of seconds without a heartbeat after which a worker is reported. A worker sends a
#: heartbeat each second and is declared dead after about 15 s.
SILENT_S = 5
#: Minimum number of future days for which partitions must exist. They normally reach a week ahead;
#: see the alert OftenPartitionsRunOut.
DAYS_AHEAD = 4


def problems(facts: Facts) -> list[Problem]:
    """The problems that an operator must know about, worst first."""
    found = [
        *_servers(facts),
        *_postgres(facts),
        *_redis(facts),
        *_leader(facts),
        *_workers(facts),
        *wrong_tasks.problems(facts),
        *_partitions(facts),
    ]
    for queue in facts.queues:
        found += _queue(facts, queue)
    return sorted(found, key=lambda problem: list(Severity).index(problem.severity))


def verdict(found: Iterable[Problem]) -> str:
    """The overall state of the system: critical, warning or ok."""
    severities = {problem.severity for problem in found}
    if CRITICAL in severities:
        return "critical"
    return "warning" if WARNING in severities else "ok"


def _servers(facts: Facts) -> Iterator[Problem]:
    names = {"postgres": "Postgres", "redis": "Redis"}
    for server, answer in facts.servers.items():
        if answer != "ok":
            yield Problem(
                code=f"{server}-unavailable",
                severity=CRITICAL,
                sentence=f"{names[server]} {answer}",
                target=Target("server", server),
                remedy=_SERVER_REMEDIES[server],
                runbook=f"{server}-away",
            )


_SERVER_REMEDIES = {
    "postgres": "Start it or free its disk. Until then nothing is accepted, and running tasks keep their "
    "outcomes in memory.",
    "redis": "Start it. Tasks are accepted and wait; they are sent again when it is back, even if it is "
    "empty.",
}


def _postgres(facts: Facts) -> Iterator[Problem]:
    if facts.postgres is None:
        return
    used, limit = facts.postgres["connections"], facts.postgres["connections_limit"]
    if used >= SCARCE * limit:
        yield Problem(
            code="connections-scarce",
            severity=CRITICAL if used >= FULL * limit else WARNING,
            sentence=f"Postgres has {used} of {limit} connections in use",
            target=Target("server", "postgres"),
            remedy="Raise max_connections, run fewer processes, or put PgBouncer in front.",
        )
    if facts.postgres["oldest_transaction_s"] > TRANSACTION_S:
        yield Problem(
            code="transaction-old",
            severity=WARNING,
            sentence=f"A transaction in Postgres is {span(facts.postgres['oldest_transaction_s'])} old",
            target=Target("server", "postgres"),
            remedy="Find it in pg_stat_activity and end it: until then Postgres cannot remove old row "
            "versions.",
        )


def _redis(facts: Facts) -> Iterator[Problem]:
    if facts.redis is None or not facts.redis["memory_limit_bytes"]:
        return
    share = facts.redis["memory_bytes"] / facts.redis["memory_limit_bytes"]
    if share >= SCARCE:
        yield Problem(
            code="redis-memory-scarce",
            severity=CRITICAL if share >= FULL else WARNING,
            sentence=f"Redis uses {share:.0%} of the memory it may use",
            target=Target("server", "redis"),
            remedy="Raise maxmemory, and look for what else is stored there.",
        )


def _leader(facts: Facts) -> Iterator[Problem]:
    if "leader" in facts.unknown or facts.servers["postgres"] != "ok":
        return
    if facts.leaderless_s is None or facts.leaderless_s > LEADERLESS_S:
        since = "" if facts.leaderless_s is None else f" for {span(facts.leaderless_s)}"
        yield Problem(
            code="no-leader",
            severity=CRITICAL,
            sentence=f"No scheduler has led{since}",
            target=None,
            remedy="Start a scheduler: without one, schedules do not fire, delayed tasks and retries are "
            "not sent, and tasks of dead workers are not rescued.",
            runbook="no-leader",
        )


def _queue(facts: Facts, queue: QueueAnswer) -> Iterator[Problem]:
    target, link = Target("queue", queue.queue), f"/api/v1/queues/{queue.queue}"
    if queue.paused:
        long = facts.at - queue.paused.since > timedelta(hours=PAUSE_H)
        lasts = span((facts.at - queue.paused.since).total_seconds())
        yield Problem(
            code="queue-paused",
            severity=WARNING if long else NOTICE,
            sentence=f"The queue {queue.queue} has been paused for {lasts}: {queue.paused.reason}",
            target=target,
            since=queue.paused.since,
            remedy="Resume it when the reason is gone.",
            link=link,
        )
    elif queue.waiting and not queue.workers:
        yield Problem(
            code="queue-unserved",
            severity=CRITICAL,
            sentence=f"{plural(queue.waiting, 'task waits', 'tasks wait')} in {queue.queue}, "
            "and no worker serves this queue",
            target=target,
            remedy="Start a worker that serves it: name it in OFTEN_WORKER_QUEUES.",
            link=link,
            runbook="no-worker",
        )
    elif queue.waiting and queue.oldest_age_s > SLOW_S:
        yield Problem(
            code="queue-slow",
            severity=WARNING,
            sentence=f"A task in {queue.queue} has waited for {span(queue.oldest_age_s)}, with "
            f"{queue.waiting:,} waiting and {plural(queue.workers, 'worker')}",
            target=target,
            remedy="Look at what its workers run; add workers if they are busy with regular work.",
            link=link,
            runbook="queue-stalled",
        )


def _workers(facts: Facts) -> Iterator[Problem]:
    for row in facts.workers:
        if row["dead_at"] is None and row["silent_s"] > SILENT_S:
            yield Problem(
                code="worker-silent",
                severity=WARNING,
                sentence=f"{_named(row)} has sent no heartbeat for {span(row['silent_s'])}",
                target=Target("worker", str(row["id"])),
                remedy="Look at its host and its log. Its tasks are rescued when it is declared dead.",
                link="/api/v1/workers",
                runbook="process-silent",
            )
    dead = [row for row in facts.workers if row["dead_at"] is not None]
    if dead:
        yield Problem(
            code="workers-died",
            severity=WARNING,
            sentence=f"{plural(len(dead), 'worker')} died within {RECENT_MIN} minutes, the last one "
            f"{_named(max(dead, key=lambda row: row['dead_at']))}",
            target=None,
            since=max(row["dead_at"] for row in dead),
            remedy="Look for out-of-memory kills on their hosts and at tasks that crashed.",
            link="/api/v1/workers?dead=true",
            runbook="workers-die",
        )


def _partitions(facts: Facts) -> Iterator[Problem]:
    if facts.days_ahead is not None and facts.days_ahead < DAYS_AHEAD:
        yield Problem(
            code="partitions-run-out",
            severity=CRITICAL,
            sentence=f"The ledger has partitions for {plural(facts.days_ahead, 'day')} ahead, "
            "and should have 7",
            target=Target("server", "postgres"),
            remedy="Read the leading scheduler's log: it creates them every hour.",
            runbook="partitions-run-out",
        )


def _named(row: Row) -> str:
    return f"worker {row['hostname']}:{row['pid']} of {', '.join(row['queues'])}"
