"""Changes the parameters of a workflow step that will run again. The step must be a single task.

A given parameter replaces the stored one of the same name; all others stay. A constant may replace
a value that was read from another step, and it then applies to later runs too. A new reference to
another step is refused, because it would add an edge to the graph of steps, which was checked as a
whole when the workflow was submitted.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.api.workflows.definition import is_reference
from shared.contracts import broken_rules, document
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import MAX_PARAMS_BYTES, Contract
from shared.errors import FieldProblem
from shared.ledger.database import Database
from shared.ledger.transitions.retry import EDIT_STEP, PARAMS_OF_STEP
from shared.vault import Vault, step_row
from shared.workflows import wiring
from shared.workflows.reference import Input
from shared.workflows.refusals import ResultsGone

_INPUTS = msgspec.json.Decoder(dict[str, Input])
AnyContract = Contract[Any, Any]


async def edit(
    database: Database,
    catalogue: Catalogue,
    vault: Vault,
    workflow_id: UUID,
    step: str,
    edited: Mapping[str, Any],
) -> None:
    """Store new parameters for the step's next run. It uses the caller's transaction.

    Raises InvalidFields, ResultsGone or VaultError.
    """
    (row,) = await database.run(PARAMS_OF_STEP, id=workflow_id, step=step)
    contract = catalogue.ever_by_name.get(row["contract"])
    wiring.refuse(_of_step(step, row, contract))
    if row["id"] is None:
        raise ResultsGone([step])
    assert contract is not None
    inputs = _INPUTS.decode(row["inputs"] or "{}")
    wiring.refuse(_of_edit(contract, row, inputs, edited))
    left = {name: each for name, each in inputs.items() if name not in edited}
    kept = {name: value for name, value in msgspec.json.decode(row["params"]).items() if name not in edited}
    bound_to = step_row(workflow_id, step, None)
    params = {**vault.open_fields(contract, kept, bound_to, row["owner"]), **edited}
    sealed = vault.seal_encoded(
        contract, _encoded(contract, params, left, database.now()), bound_to, row["owner"]
    )
    await database.run(
        EDIT_STEP,
        id=workflow_id,
        step=step,
        params=sealed.text,
        inputs=msgspec.json.encode(left).decode() if left else None,
        key_id=sealed.key_id,
        version=contract.version,
    )


def _encoded(contract: AnyContract, params: dict[str, Any], left: Mapping[str, Input], now: datetime) -> str:
    """Check and encode the parameters of a step. Raises InvalidFields.

    If some parameters are read from other steps later, only the constant ones can be checked.
    """
    if left:
        wiring.refuse(_of_constants(contract, params))
        return document.encode(params, "params", MAX_PARAMS_BYTES)
    checked = contract.check_params(params)
    if contract.rules_for_new is not None:
        wiring.refuse(contract.rules_for_new(checked, now))
    text: str = contract.encode_params(checked)
    return text


def _of_step(step: str, row: Mapping[str, Any], contract: AnyContract | None) -> Iterator[FieldProblem]:
    if row["grouped"]:
        yield FieldProblem("params", f"can be edited for a single task only, and step {step!r} is a group")
    if contract is None:
        yield FieldProblem("params", f"cannot be checked: there is no task {row['contract']} any more")
    elif row["contract_version"] is not None and row["contract_version"] < contract.version:
        rule = "cannot be edited: an older release has stored them. Submit the workflow again"
        yield FieldProblem("params", rule)


def _of_edit(
    contract: AnyContract, row: Mapping[str, Any], inputs: Mapping[str, Input], edited: Mapping[str, Any]
) -> Iterator[FieldProblem]:
    known = {field.encode_name for field in msgspec.structs.fields(contract.params)}
    for name, value in edited.items():
        if name not in known:
            yield FieldProblem(f"params.{name}", "is unknown")
        elif is_reference(value) or (isinstance(value, list) and any(map(is_reference, value))):
            rule = "must be a constant: which steps are read is fixed when a workflow is submitted"
            yield FieldProblem(f"params.{name}", rule)
    recipient = contract.recipient or ""
    stored = msgspec.json.decode(row["params"]).get(recipient)
    if recipient in edited and (recipient in inputs or edited[recipient] != stored):
        rule = "must stay as it is: it names the account that the task is for"
        yield FieldProblem(f"params.{recipient}", rule)


def _of_constants(contract: AnyContract, params: Mapping[str, Any]) -> Iterator[FieldProblem]:
    for field in msgspec.structs.fields(contract.params):
        if field.encode_name in params:
            yield from broken_rules.find(params[field.encode_name], field.type, f"params.{field.encode_name}")
