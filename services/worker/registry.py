"""Connects task functions to contracts, and finds all of them by importing packages.

No list has to be edited when a task is added.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Generic

from shared.applications import Application, resolve
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, P, R
from shared.contracts.hooks import NO_HOOKS, Hooks
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class TaskFunction(Generic[P, R]):
    """A contract and the function that does its work. The object can be called like the
    function.
    """

    contract: Contract[P, R]
    function: Callable[[TaskContext, P], R | Awaitable[R]]
    #: The hooks of the application to which the task belongs: functions that are called around its
    #: tasks.
    hooks: Hooks = NO_HOOKS

    def __call__(self, context: TaskContext, params: P) -> R | Awaitable[R]:
        return self.function(context, params)


def task(
    contract: Contract[P, R],
) -> Callable[[Callable[[TaskContext, P], R | Awaitable[R]]], TaskFunction[P, R]]:
    """Decorator that makes a function the body of tasks of this contract. The function may be
    async.
    """

    def bind(function: Callable[[TaskContext, P], R | Awaitable[R]]) -> TaskFunction[P, R]:
        return TaskFunction(contract, function)

    return bind


def load(applications: Iterable[Application]) -> dict[str, TaskFunction[Any, Any]]:
    """Import the applications' packages of task bodies, and collect their tasks by contract
    name.
    """
    found: dict[str, TaskFunction[Any, Any]] = {}
    for each in applications:
        hooks = resolve(each.hooks) if each.hooks else NO_HOOKS
        for module in _modules_in(each.bodies):
            add(found, vars(module).values(), hooks)
    return found


def _modules_in(package: str) -> Iterator[ModuleType]:
    if package:
        path = importlib.import_module(package).__path__
        for info in pkgutil.iter_modules(path, f"{package}."):
            yield importlib.import_module(info.name)


def gateways(applications: Iterable[Application], settings: Settings) -> dict[type, Any]:
    """Create the gateways (clients of outside services) of all applications, by class."""
    built: dict[type, Any] = {}
    for each in applications:
        if each.gateways:
            built |= resolve(each.gateways)(settings)
    return built


def add(found: dict[str, TaskFunction[Any, Any]], values: Iterable[Any], hooks: Hooks = NO_HOOKS) -> None:
    """Add the task functions among `values` to `found`.

    Raises ValueError if two functions have the same contract.
    """
    for value in values:
        if isinstance(value, TaskFunction):
            task = replace(value, hooks=hooks)
            for name in (value.contract.name, *value.contract.former_names):
                if found.setdefault(name, task).function is not task.function:
                    raise ValueError(f"two functions have the contract {name}: remove @task from one of them")
