"""Submits the old system's waiting tasks through the API, with idempotency keys derived from their
old ids.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from often_client import Client
from tools.import_celery_tasks.old_rows import OldTask


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to submit tasks that call one function of the old system."""

    #: Name of the contract under which the tasks are submitted.
    name: str
    #: Parameter names for the positional arguments, in their order.
    args: list[str] = []
    #: New names of keyword arguments that have another name in the contract, by their old name.
    rename: dict[str, str] = {}


Rules = Mapping[str, Rule]


class Unfit(Exception):
    """Raised for a row with arguments for which its rule has no names."""


def read_mapping(path: Path) -> Rules:
    """Read a JSON object that maps each old function's name to its rule.

    Raises ValueError, naming the bad field.
    """
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Rule])


def params(task: OldTask, rule: Rule) -> dict[str, Any]:
    """The task's parameters in the new system's form.

    Raises Unfit if it has more positional arguments than the rule names.
    """
    if len(task.task_args) > len(rule.args):
        raise Unfit(f"{len(task.task_args)} positional arguments, but its rule names only {len(rule.args)}")
    named = dict(zip(rule.args, task.task_args, strict=False)) | task.task_kwargs
    return {rule.rename.get(name, name): value for name, value in named.items()}


def submit(api: Client, task: OldTask, rule: Rule) -> UUID:
    """Submit a row. For 24 hours, submitting the same row again leads to the same task.

    Raises Unfit, ApiError or ApiAway.
    """
    # Celery's 0 means "not set" in the old table; the contract's own priority then applies.
    priority = task.priority or None
    return api.submit(rule.name, params(task, rule), priority=priority, key=f"celery-{task.task_id}")
