"""Finds the contracts of all applications, so that no list of contracts has to be maintained."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from shared.applications import Application
from shared.contracts.contract import Contract
from shared.contracts.schedule import Schedule
from shared.errors import UnknownTask


class Catalogue:
    """All contracts (definitions of kinds of tasks) by name."""

    def __init__(self, contracts: list[Contract[Any, Any]]) -> None:
        by_name: dict[str, Contract[Any, Any]] = {}
        formerly: dict[str, Contract[Any, Any]] = {}
        for contract in contracts:
            if by_name.setdefault(contract.name, contract) is not contract:
                raise ValueError(f"two contracts have the name {contract.name}: rename one of them")
            formerly |= dict.fromkeys(contract.former_names, contract)
        self.by_name = MappingProxyType(by_name)
        #: Contracts of tasks that may be submitted by requests. Contracts of tasks that only the
        #: platform submits are left out.
        self._requestable = {name: c for name, c in by_name.items() if not c.internal}
        #: All contracts by their present and former names, because stored tasks may have a former
        #: name.
        self.ever_by_name = MappingProxyType(formerly | by_name)
        self.queues = tuple(sorted({name for c in contracts for name in (c.queue, *c.former_queues)}))
        self.schedules = [(c, schedule) for c in contracts for schedule in c.schedules]
        self._refuse_doubles(schedule for _, schedule in self.schedules)

    def get(self, name: str) -> Contract[Any, Any]:
        """Return the contract with this name, for a new submission.

        A contract that is `internal` cannot be requested, so its name counts as unknown. Raises
        UnknownTask, whose message lists the known names.
        """
        return self._found(name, self._requestable)

    def get_stored(self, name: str) -> Contract[Any, Any]:
        """Return the contract of a stored task, which may have a former name.

        Raises UnknownTask.
        """
        return self._found(name, self.ever_by_name)

    def _found(self, name: str, among: Mapping[str, Contract[Any, Any]]) -> Contract[Any, Any]:
        try:
            return among[name]
        except KeyError:
            raise UnknownTask(name, sorted(self._requestable)) from None

    @staticmethod
    def _refuse_doubles(schedules: Iterable[Schedule]) -> None:
        names = Counter(schedule.name for schedule in schedules)
        for name in (name for name, count in names.items() if count > 1):
            raise ValueError(f"two schedules have the name {name}: rename one of them")


def load(applications: Iterable[Application]) -> Catalogue:
    """Import the applications' packages of contracts and collect the contracts in their modules."""
    found = {id(value): value for each in applications for value in _defined_in(each.contracts)}
    return Catalogue(list(found.values()))


def _defined_in(package: str) -> Iterator[Contract[Any, Any]]:
    if not package:
        return
    path = importlib.import_module(package).__path__
    for info in pkgutil.iter_modules(path, f"{package}."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, Contract):
                yield value
