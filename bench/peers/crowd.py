"""Defines the other task systems that are measured, in their fastest known configurations.

`docs/performance.md` lists the configurations that were tried.
"""

from dataclasses import replace

from bench.peers.peer import Peer

DRAMATIQ = Peer(
    name="Dramatiq",
    package="dramatiq",
    workers=("dramatiq bench.peers.dramatiq.app --processes 2 --threads 8",),
    count=20_000,
)
DRAMATIQ_TUNED = Peer(
    name="Dramatiq, best tuned",
    package="dramatiq",
    workers=DRAMATIQ.workers,
    count=20_000,
    settings={"dramatiq_queue_prefetch": "1024"},
)
DRAMATIQ_BARE = Peer(
    name="Dramatiq, tuned and without middleware",
    package="dramatiq",
    workers=("dramatiq bench.peers.dramatiq.app_bare --processes 2 --threads 8",),
    count=20_000,
    settings=DRAMATIQ_TUNED.settings,
)
_CELERY = "celery --app bench.peers.celery.app worker --without-gossip --without-mingle --without-heartbeat"
CELERY_PREFORK = Peer(
    name="Celery, prefork",
    package="celery",
    workers=(f"{_CELERY} --pool prefork --concurrency 2",),
    count=4_000,
    settings={"BENCH_PREFETCH": "64"},
)
CELERY_SOLO = Peer(
    name="Celery, two solo workers",
    package="celery",
    workers=(f"{_CELERY} --pool solo -n one@%h", f"{_CELERY} --pool solo -n two@%h"),
    count=8_000,
    settings={"BENCH_PREFETCH": "512"},
)
CELERY_DATABASE = Peer(
    name="Celery + database results",
    package="celery",
    workers=CELERY_PREFORK.workers,
    count=1_500,
    settings={"BENCH_PREFETCH": "64", "BENCH_RESULTS": "database"},
    recorded="SELECT count(*) = {count} FROM celery_taskmeta WHERE status = 'SUCCESS'",
)
OLD_DESIGN = Peer(
    name="the old design",
    package="old_design",
    workers=("celery --app bench.peers.old_design.app worker --loglevel=info --concurrency=2",),
    count=300,
    recorded="SELECT count(*) = {count} FROM tasks WHERE status = 'success'",
)
TASKIQ = Peer(
    name="Taskiq",
    package="taskiq",
    workers=("taskiq worker bench.peers.taskiq.app:broker --workers 2 --log-level WARNING",),
    count=10_000,
)
PROCRASTINATE = Peer(
    name="Procrastinate",
    package="procrastinate",
    workers=("python -m bench.peers.procrastinate.work 8",) * 2,
    count=2_000,
    recorded="SELECT count(*) = {count} FROM procrastinate_jobs WHERE status = 'succeeded'",
)
#: Celery without prefetching: an idle child process gets a task at once, and no task waits behind
#: another one.
CELERY_PICK_UP = replace(CELERY_PREFORK, settings={"BENCH_PREFETCH": "1"})
#: Celery with a result backend, in which Celery counts the members of a chord that have ended.
CELERY_CANVAS = replace(
    CELERY_SOLO,
    name="Celery's canvas",
    count=10_000,
    settings={**CELERY_SOLO.settings, "BENCH_RESULTS": "redis"},
)
DBOS = Peer(
    name="DBOS",
    package="dbos",
    workers=("python -m bench.peers.dbos.work",) * 2,
    count=2_000,
    settings={"BENCH_CONCURRENCY": "50", "BENCH_POLL_S": "0.1"},
    recorded="SELECT NOT EXISTS (SELECT FROM dbos.workflow_status WHERE status <> 'SUCCESS')",
)
