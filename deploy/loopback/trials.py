"""Tests the running system of containers, for example by killing some of them."""

import os
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import httpx

from deploy.loopback import address, stand
from deploy.loopback.customer import Customer
from deploy.loopback.stand import Failed, compose, docker, expect, inspect, query, until

PROMETHEUS = "http://127.77.0.5:9090"
REPLICAS, MAILS = 3, 60
#: A loopback address on which no program listens.
ELSEWHERE = "127.77.2.2"


def start() -> str:
    begun = time.monotonic()
    compose("up", "--detach", "--wait", "--wait-timeout", "150")
    took = time.monotonic() - begun
    (migrate,) = compose("ps", "--all", "--quiet", "migrate").split()
    migration = inspect(migrate)["State"]
    expect("exit code of migrate", migration["ExitCode"], 0)
    for service in ("api", "worker-email", "scheduler"):
        for one in stand.containers(service):
            if _time(inspect(one)["State"]["StartedAt"]) < _time(migration["FinishedAt"]):
                raise Failed(f"{service} started before the migration had ended")
    return f"in {took:.0f} s, the services after the migration"


def ask_own_health_checks() -> str:
    for service, name in {"api": "api", "worker-email": "worker", "scheduler": "scheduler"}.items():
        check = inspect(stand.image(name))["Config"]["Healthcheck"]["Test"][1:]
        running = stand.containers(service)[0]
        here = stand.environment(running)["OFTEN_METRICS_HOST"]
        for host in (here, ELSEWHERE):
            variables = [f"--env={variable}={host}" for variable in address.VARIABLES]
            healthy = stand.succeeds("exec", *variables, running, *check)
            expect(f"health of {name} at {host}", healthy, host == here)
    return "the checks in the images pass where the service listens, and fail elsewhere"


def send_one_mail() -> str:
    customer = Customer()
    begun = time.monotonic()
    task_id = customer.send_mail()
    customer.await_status(task_id, "success", 20)
    until(customer.has_mail, "the mail has arrived", 5)
    return f"accepted, run, and in the catcher within {time.monotonic() - begun:.1f} s"


def scale() -> str:
    compose("scale", f"worker-email={REPLICAS}")
    _await_replicas()
    customer = Customer(slow_s=1)
    begun = time.monotonic()
    for _ in range(MAILS):
        customer.send_mail()
    sent = f"SELECT count(*) FROM task WHERE owner = {customer.id} AND status = 'success'"
    until(lambda: query(sent) == [[str(MAILS)]], f"{MAILS} mails were sent", 60)
    took = time.monotonic() - begun
    rows = query(f"SELECT worker, count(*) FROM task WHERE owner = {customer.id} GROUP BY 1 ORDER BY 2 DESC")
    expect("workers that took part", len(rows), REPLICAS)
    shares = " + ".join(count for _, count in rows)
    return f"{MAILS} mails of 1 s each in {took:.1f} s, shared as {shares}"


def scrape() -> str:
    names = until(_every_replica_up, "Prometheus sees every replica up", 90)
    expect("leaders", _ask_prometheus("sum(often_scheduler_leader)"), "1")
    return ", ".join(f"{name} {count}" for name, count in sorted(names.items()))


def kill() -> str:
    customer = Customer(slow_s=8)
    task_id = customer.send_mail()
    customer.await_status(task_id, "started", 20)
    ((holder,),) = query(f"SELECT holder FROM task WHERE id = '{task_id}'")
    serves = f"worker {holder} serves"
    (victim,) = [one for one in stand.containers("worker-email") if serves in stand.logs(one)]
    docker("kill", "--signal", "KILL", victim)
    killed = time.monotonic()
    customer.await_status(task_id, "success", 90)
    took = time.monotonic() - killed
    ((starts, elsewhere),) = query(
        f"SELECT attempt, worker <> '{holder}' FROM task WHERE id = '{task_id}'",
    )
    expect("starts, and whether another worker ended it", (starts, elsewhere), ("2", "t"))
    until(customer.has_mail, "the mail has arrived", 5)
    # The engine does not restart the container by itself, because it treats `docker kill` as
    # intended. So the missing worker is started here.
    compose("scale", f"worker-email={REPLICAS}")
    _await_replicas()
    return f"its task of 8 s ran again on another one and ended {took:.1f} s after the kill"


def crash() -> str:
    victim = stand.containers("worker-email")[0]
    pid = inspect(victim)["State"]["Pid"]
    if b"services.worker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        raise Failed(f"process {pid} is not a worker: the engine is not on this machine")
    os.kill(pid, signal.SIGKILL)
    crashed = time.monotonic()
    until(lambda: inspect(victim)["RestartCount"] == 1, "the engine has started the container again", 30)
    until(lambda: _healthy(victim), "the container is healthy again", 60)
    return f"the container is back and healthy after {time.monotonic() - crashed:.1f} s"


def stop() -> str:
    customer = Customer(slow_s=4)
    task_id = customer.send_mail()
    customer.await_status(task_id, "started", 20)
    running = [one for service in ("worker-email", "scheduler", "api") for one in stand.containers(service)]
    begun = time.monotonic()
    compose("stop", "worker-email")
    took = time.monotonic() - begun
    expect("the task that ran", customer.status(task_id), "success")
    compose("stop", "scheduler", "api")
    expect("exit codes", {inspect(one)["State"]["ExitCode"] for one in running}, {0})
    return f"{REPLICAS} workers in {took:.1f} s, when a task of 4 s had ended; all {len(running)} exit with 0"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _await_replicas() -> None:
    def all_healthy() -> bool:
        running = stand.containers("worker-email")
        return len(running) == REPLICAS and all(_healthy(one) for one in running)

    until(all_healthy, f"{REPLICAS} workers are healthy", 60)


def _healthy(running: str) -> bool:
    return bool(inspect(running)["State"]["Health"]["Status"] == "healthy")


def _every_replica_up() -> Counter[str] | None:
    targets = httpx.get(f"{PROMETHEUS}/api/v1/targets", trust_env=False).raise_for_status().json()
    found = targets["data"]["activeTargets"]
    names = Counter(one["discoveredLabels"].get("__meta_dns_name", "prometheus") for one in found)
    complete = (names["api"], names["scheduler"], names["worker-email"]) == (1, 2, REPLICAS)
    return names if complete and all(one["health"] == "up" for one in found) else None


def _ask_prometheus(expression: str) -> str:
    answer = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": expression}, trust_env=False)
    (result,) = answer.raise_for_status().json()["data"]["result"]
    return str(result["value"][1])
