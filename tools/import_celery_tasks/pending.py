"""Submits old tasks that have not run yet, through the API and under a key made from the old id."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from cli.client import Client
from tools.import_celery_tasks.old_rows import OldTask


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one old function is submitted now."""

    #: Name of the contract.
    name: str
    #: Names of the positional arguments, in their order.
    args: list[str] = []
    #: Keyword arguments that have another name now.
    rename: dict[str, str] = {}


Rules = Mapping[str, Rule]


class Unfit(Exception):
    """A rule that does not fit the row."""


def read_mapping(path: Path) -> Rules:
    """A JSON object of rules by the old function's name. Raises ValueError, which names the bad field."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Rule])


def params(task: OldTask, rule: Rule) -> dict[str, Any]:
    """The new parameters. Raises Unfit when the row has more positional arguments than the rule names."""
    if len(task.task_args) > len(rule.args):
        raise Unfit(f"{len(task.task_args)} positional arguments, but the mapping names {len(rule.args)}")
    named = dict(zip(rule.args, task.task_args, strict=False)) | task.task_kwargs
    return {rule.rename.get(name, name): value for name, value in named.items()}


def submit(api: Client, task: OldTask, rule: Rule) -> UUID:
    """Raises Unfit, ApiError or ApiAway. The same row leads to the same task for 24 hours."""
    # Celery's 0 means "not set" in the old table; the contract's own priority applies then.
    priority = task.priority or None
    return api.submit(rule.name, params(task, rule), priority=priority, key=f"celery-{task.task_id}")
