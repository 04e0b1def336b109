"""Finds the contracts of the applications, so that a new one needs no list to be edited."""

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
    """All contracts by name."""

    def __init__(self, contracts: list[Contract[Any, Any]]) -> None:
        by_name: dict[str, Contract[Any, Any]] = {}
        formerly: dict[str, Contract[Any, Any]] = {}
        for contract in contracts:
            if by_name.setdefault(contract.name, contract) is not contract:
                raise ValueError(f"two contracts are called {contract.name}")
            formerly |= dict.fromkeys(contract.former_names, contract)
        self.by_name = MappingProxyType(by_name)
        #: Without those that only the platform submits.
        self._requestable = {name: c for name, c in by_name.items() if not c.internal}
        #: Also by what they were called before; for what is stored already.
        self.ever_by_name = MappingProxyType(formerly | by_name)
        self.queues = tuple(sorted({name for c in contracts for name in (c.queue, *c.former_queues)}))
        self.schedules = [(c, schedule) for c in contracts for schedule in c.schedules]
        self._refuse_doubles(schedule for _, schedule in self.schedules)

    def get(self, name: str) -> Contract[Any, Any]:
        """The contract of something that is requested. Raises UnknownTask, which lists the known names.

        Contracts that are `internal` cannot be requested, so they count as unknown.
        """
        return self._found(name, self._requestable)

    def get_stored(self, name: str) -> Contract[Any, Any]:
        """The contract of something stored, perhaps under a former name. Raises UnknownTask as `get`."""
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
            raise ValueError(f"two schedules are called {name}")


def load(applications: Iterable[Application]) -> Catalogue:
    """Import the contracts' packages of the applications and collect what their modules define."""
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
