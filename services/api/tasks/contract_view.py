"""Builds the API's description of contracts.

A contract defines a kind of task and its parameters.
"""

import functools
from collections.abc import Collection
from typing import Any

import msgspec

from services.api.identity.rights import Reader
from services.api.tasks.schemas import ContractAnswer, RetriesAnswer
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, Retries

#: Keyword in a JSON Schema that marks a sensitive field: it is stored encrypted, and masked for
#: everyone except readers who may see it.
SENSITIVE = "x-sensitive"


class ContractView:
    """Describes the contracts that the API offers.

    The descriptions are built once and then reused.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @functools.cached_property
    def _all(self) -> list[ContractAnswer]:
        contracts = sorted(self._catalogue.by_name.items())
        return [_answer(contract) for _, contract in contracts if not contract.internal]

    def visible_to(self, reader: Reader) -> list[ContractAnswer]:
        """Return the descriptions that this reader may see, sorted by contract name.

        Contracts with `staff_only` are returned to operators and administrators only.
        """
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
    """Return the self-contained JSON Schema of a type, with its sensitive fields marked."""
    schema = msgspec.json.schema(struct)
    fields = schema["$defs"][schema["$ref"].rpartition("/")[2]]["properties"]
    for name in sensitive:
        fields[name] = {SENSITIVE: True, **fields[name]}
    return schema
