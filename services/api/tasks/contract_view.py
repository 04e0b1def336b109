"""Contracts as clients see them."""

import functools
from collections.abc import Collection
from typing import Any

import msgspec

from services.api.identity.rights import Reader
from services.api.tasks.schemas import ContractAnswer, RetriesAnswer
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, Retries

#: Keyword in a schema that marks a field which is encrypted in the row and masked for other readers.
SENSITIVE = "x-sensitive"


class ContractView:
    """Describes the contracts of this API, once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @functools.cached_property
    def _all(self) -> list[ContractAnswer]:
        contracts = sorted(self._catalogue.by_name.items())
        return [_answer(contract) for _, contract in contracts if not contract.internal]

    def visible_to(self, reader: Reader) -> list[ContractAnswer]:
        """By name. Contracts that are `staff_only` are left out for everybody else."""
        return [each for each in self._all if reader.is_staff or not each.staff_only]


def _answer(contract: Contract[Any, Any]) -> ContractAnswer:
    max_wait = contract.max_wait
    return ContractAnswer(
        name=contract.name,
        queue=contract.queue,
        version=contract.version,
        priority=contract.priority,
        staff_only=contract.staff_only,
        needs_key=contract.needs_key,
        quota=contract.quota,
        recipient=contract.recipient,
        retries=_retries(contract.retries),
        time_limit_s=contract.time_limit.total_seconds(),
        max_wait_s=None if max_wait is None else max_wait.total_seconds(),
        params=_schema(contract.params, contract.sensitive_params),
        result=_schema(contract.result, contract.sensitive_result),
    )


def _retries(retries: Retries) -> RetriesAnswer:
    return RetriesAnswer(
        max_attempts=retries.max_attempts,
        delay_s=retries.delay.total_seconds(),
        factor=retries.factor,
        cap_s=retries.cap.total_seconds(),
        jitter=retries.jitter,
    )


def _schema(struct: type[msgspec.Struct], sensitive: Collection[str]) -> dict[str, Any]:
    """A JSON Schema that refers to nothing outside itself, with its sensitive fields marked."""
    schema = msgspec.json.schema(struct)
    fields = schema["$defs"][schema["$ref"].rpartition("/")[2]]["properties"]
    for name in sensitive:
        fields[name] = {SENSITIVE: True, **fields[name]}
    return schema
