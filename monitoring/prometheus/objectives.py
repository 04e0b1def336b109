"""Generates the Prometheus rule file rules/objectives.yml from the task contracts.

Run it with `make rules` or `python -m monitoring.prometheus.objectives`. Each contract becomes one
or two constant series that hold its objective. Recording rules and alerts join these series by
queue and task, so the number of rules does not depend on the number of kinds of tasks.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from monitoring.prometheus.burn import STARTS, STEP_S, TASKS, alerts, seconds, traffic
from shared import applications
from shared.contracts import catalogue
from shared.contracts.contract import Contract

FILE = Path(__file__).parent / "rules/objectives.yml"
HEAD = "# Written by `make rules` from the contracts' objectives and monitoring/prometheus. Do not edit.\n\n"

#: The windows over which rates are computed from raw series.
RAW = ("5m", "30m", "1h")
#: The longer windows, for which already recorded rates are added up, because reading raw series of
#: several days would take seconds. A sum is used and not an average, so that a system that has
#: failed for its first ten minutes does not look as if it had failed for days.
LONG = ("6h", "3d")

#: The platform's objectives over 30 days: for each kind of event, the share that should be good.
#: The dashboards use the same names for these objectives.
ACCEPTED = 'method="POST", path=~"/api/v1/(tasks|tasks/batch|workflows)"'
TARGETS = {"accept": 0.999, "start": 0.99, "finish": 0.995, "on_time": 0.999, "truth": 0.999}

Rule = dict[str, Any]


def rules(contracts: Iterable[Contract[Any, Any]]) -> dict[str, Any]:
    """Return the content of the Prometheus rule file."""
    known = sorted(contracts, key=lambda contract: (contract.queue, contract.name))
    waits = waits_by_queue(known)
    return {
        "groups": [
            _group("often-objectives", "2m", [*_targets(known), *_waits(waits)]),
            _group("often-burn", f"{STEP_S}s", [*_ends(), *_starts(waits), *_shares(RAW)]),
            _group("often-burn-long", "1m", [*_long(TASKS), *_long(STARTS), *_shares(LONG)]),
            _group("often-budget", "1m", _budget(waits)),
            _group("often-budget-30d", "10m", _met()),
            _group("often-burn-alerts", None, alerts()),
        ]
    }


def waits_by_queue(contracts: Iterable[Contract[Any, Any]]) -> dict[str, tuple[float, float]]:
    """Return each queue's objective for waiting times: the share of its tasks that must start in
    time, and the time in seconds.

    Raises ValueError if two contracts of a queue disagree.
    """
    found: dict[str, tuple[float, float]] = {}
    for contract in contracts:
        wait = contract.objective.wait_p
        if found.setdefault(contract.queue, wait) != wait:
            rule = f"queue {contract.queue}: all tasks of a queue wait together, so wait_p must be equal"
            raise ValueError(f"{rule}; {contract.name} has {wait}, others have {found[contract.queue]}")
    return found


def _group(name: str, interval: str | None, rules: Iterable[Rule]) -> dict[str, Any]:
    return {"name": name, **({"interval": interval} if interval else {}), "rules": list(rules)}


def _constant(record: str, value: float, **labels: str) -> Rule:
    return {"record": record, "expr": f"vector({value:g})", "labels": labels}


def _targets(contracts: Iterable[Contract[Any, Any]]) -> Iterator[Rule]:
    for contract in contracts:
        objective, labels = contract.objective, {"queue": contract.queue, "task": contract.name}
        more = {"urgency": objective.urgency, "traffic": traffic(objective.expected_per_day)}
        yield _constant("task:often_objective_success:ratio", objective.success, **labels, **more)
        if objective.run_p is not None:
            share, limit_s = objective.run_p
            yield _constant("task:often_objective_run_seconds:max", limit_s, **labels, share=f"{share:g}")
    for name, target in TARGETS.items():
        yield _constant("objective:often_objective:ratio", target, objective=name)


def _waits(waits: dict[str, tuple[float, float]]) -> Iterator[Rule]:
    for queue, (share, limit_s) in waits.items():
        yield _constant("queue:often_objective_start:ratio", share, queue=queue)
        yield _constant("queue:often_objective_wait_seconds:max", limit_s, queue=queue)


def _ends() -> Iterator[Rule]:
    """Prometheus rules for two rates per kind of task: tasks that succeeded, and tasks that failed
    and should not have. The latter failed in a worker, died with it, or expired while they waited.
    """
    for w in RAW:
        yield {
            "record": f"queue_task:often_tasks_bad:rate{w}",
            "expr": (
                "sum by (queue, task) (\n"
                f'  rate(often_tasks_finished_total{{outcome="failure"}}[{w}])\n'
                f'  or rate(often_tasks_crashed_total{{verdict="failure"}}[{w}])\n'
                f"  or rate(often_tasks_expired_total[{w}])\n"
                f'  or -rate(often_tasks_failed_total{{kind="refused"}}[{w}])\n'
                ")\n"
            ),
        }
        yield {
            "record": f"queue_task:often_tasks_good:rate{w}",
            "expr": f'sum by (queue, task) (rate(often_tasks_finished_total{{outcome="success"}}[{w}]))',
        }


def _starts(waits: dict[str, tuple[float, float]]) -> Iterator[Rule]:
    """Prometheus rules for two rates per queue: attempts that started within the queue's objective
    for waiting, and attempts that started late.
    """
    for w in RAW:
        yield {"record": f"queue:often_starts_good:rate{w}", "expr": _in_time(waits, w)}
        yield {
            "record": f"queue:often_starts_bad:rate{w}",
            "expr": (
                f"sum by (queue) (rate(often_task_wait_seconds_count[{w}]))"
                f" - on (queue) queue:often_starts_good:rate{w}"
            ),
        }


def _in_time(waits: dict[str, tuple[float, float]], window: str) -> str:
    by_bound: dict[float, list[str]] = {}
    for queue, (_, limit_s) in waits.items():
        by_bound.setdefault(limit_s, []).append(queue)
    parts = [
        f'rate(often_task_wait_seconds_bucket{{queue=~"{"|".join(queues)}", le="{float(bound)}"}}[{window}])'
        for bound, queues in sorted(by_bound.items())
    ]
    return "sum by (queue) (\n  " + "\n  or ".join(parts) + "\n)\n"


def _long(prefix: str) -> Iterator[Rule]:
    for window in LONG:
        for kind in ("good", "bad"):
            total = f"sum_over_time({prefix}_{kind}:rate5m[{window}])"
            yield {
                "record": f"{prefix}_{kind}:rate{window}",
                "expr": f"{total} * {STEP_S} / {seconds(window)}",
            }


def _shares(windows: Iterable[str]) -> Iterator[Rule]:
    """Prometheus rules for the share of bad events among all events. They yield no value where
    nothing happened.
    """
    for w in windows:
        for prefix in (TASKS, STARTS):
            bad, good = (f"{prefix}_{kind}:rate{w}" for kind in ("bad", "good"))
            yield {
                "record": f"{prefix}_bad:ratio{w}",
                "expr": f"{bad} / (({good} or 0 * {bad}) + {bad} > 0)",
            }


def _budget(waits: dict[str, tuple[float, float]]) -> Iterator[Rule]:
    """Yield, for each of the platform's objectives, the rules for all its events per second and for
    its bad events per second.
    """
    answered = f"sum(rate(often_http_request_duration_seconds_count{{{ACCEPTED}}}[5m]))"
    in_time = f'{ACCEPTED}, status_code!~"5..", le="1.0"'
    accepted = f"sum(rate(often_http_request_duration_seconds_bucket{{{in_time}}}[5m]))"
    pairs = {
        "accept": (answered, f"{answered} - ({accepted} or vector(0))"),
        "start": (
            "sum(queue:often_starts_good:rate5m) + sum(queue:often_starts_bad:rate5m)",
            "sum(queue:often_starts_bad:rate5m)",
        ),
        "finish": (
            "sum(queue_task:often_tasks_good:rate5m) + sum(queue_task:often_tasks_bad:rate5m)",
            "sum(queue_task:often_tasks_bad:rate5m)",
        ),
        "on_time": _slower("often_schedule_lag_seconds", 60),
        "truth": _slower("often_recorder_lag_seconds", 10),
    }
    assert pairs.keys() == TARGETS.keys()
    for name, (events, bad) in pairs.items():
        yield {"record": "objective:often_events:rate5m", "expr": events, "labels": {"objective": name}}
        # `bad` subtracts good events from all events. Rounding of the two rates can make it
        # slightly negative.
        bad = f"clamp_min({bad}, 0)"
        yield {"record": "objective:often_bad_events:rate5m", "expr": bad, "labels": {"objective": name}}


def _slower(histogram: str, bound: float) -> tuple[str, str]:
    events = f"sum(rate({histogram}_count[5m]))"
    return events, f'{events} - sum(rate({histogram}_bucket{{le="{float(bound)}"}}[5m]))'


def _met() -> Iterator[Rule]:
    bad, events = (f"sum_over_time(objective:often_{kind}:rate5m[30d])" for kind in ("bad_events", "events"))
    yield {"record": "objective:often_met:ratio30d", "expr": f"1 - {bad} / ({events} > 0)"}
    yield {
        "record": "objective:often_budget_left:ratio30d",
        "expr": "1 - (1 - objective:often_met:ratio30d) / (1 - objective:often_objective:ratio)",
    }


class _Lines(yaml.SafeDumper):
    """A YAML dumper that writes strings with several lines as blocks and never wraps a line."""


_Lines.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def text() -> str:
    """The text of the rule file for the applications that the variable OFTEN_APPLICATIONS names."""
    found = applications.find(os.environ.get(applications.VARIABLE, applications.DEFAULT))
    content = rules(catalogue.load(found).by_name.values())
    return HEAD + yaml.dump(content, Dumper=_Lines, sort_keys=False, width=1_000)


if __name__ == "__main__":
    FILE.write_text(text())
