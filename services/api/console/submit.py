"""The console's form that submits a task. It is generated from the task's contract; parameters can
also be given as JSON.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from services.api.console import addresses, notices, schema_form, task_form
from services.api.console.pages import Pages
from services.api.http import json_text
from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.http.refusals import TaskRestricted
from services.api.identity.rights import Reader
from services.api.tasks.contract_view import ContractView
from services.api.tasks.schemas import ContractAnswer, NewTaskBody
from services.api.tasks.submissions import Submissions
from shared.contracts import broken_rules
from shared.errors import FieldProblem, InvalidFields, UnknownTask

_EMPTY: Final = {"priority": "", "delay_s": "", "params": "", "key": "", "as": "fields"}


@get("/tasks/new")
async def show_new(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    contracts: NamedDependency[ContractView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    """Show the form for the kind of task that `name` selects. Without a name, list the kinds of
    tasks.
    """
    kinds = contracts.visible_to(reader)
    contract = _chosen(kinds, request.query_params.get("name"))
    # Each form gets an idempotency key of its own, so that sending it twice submits only one task.
    given = {"key": secrets.token_urlsafe(16), "as": request.query_params.get("as", "fields")}
    return _answer(request, pages, kinds, contract, given, {})


@post("/tasks/new")
async def submit(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    contracts: NamedDependency[ContractView],
    submissions: NamedDependency[Submissions],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    kinds = contracts.visible_to(reader)
    contract = _chosen(kinds, form.get("name"))
    if contract is None:
        return _answer(request, pages, kinds, None, form, {"name": "choose a kind of task"})
    try:
        task_id = await _store(form, contract, reader, submissions)
    except InvalidFields as error:
        rules = {each.field.removeprefix("params."): each.rule for each in error.problems}
    except (NotAllowed, TaskRestricted) as error:
        problems = [error.problem] if isinstance(error, NotAllowed) else error.problems
        rules = task_form.by_field(list(problems))
    except UnknownAccount as error:
        rules = {error.field.removeprefix("params."): "names no account"}
    except UnknownTask:
        rules = {"name": "is not known any more"}
    else:
        return notices.back(request, f"/console/tasks/{task_id}", f"{contract.name} is accepted.")
    return _answer(request, pages, kinds, contract, form, rules)


async def _store(
    form: Mapping[str, str], contract: ContractAnswer, reader: Reader, submissions: Submissions
) -> UUID:
    """Submit the task that the form describes. Raises InvalidFields, and the errors that
    `Submissions` raises.
    """
    body = _body(form, contract)
    task = submissions.new_task(body, reader)
    once = submissions.once(form.get("key") or None, reader, "console", body)
    task_id, _ = await submissions.submit_one(task, reader, once)
    return task_id


def _body(form: Mapping[str, str], contract: ContractAnswer) -> NewTaskBody:
    raw: dict[str, Any] = {"name": contract.name, "params": _params(form, contract)}
    for name in ("priority", "delay_s"):
        if text := form.get(name, "").strip():
            try:
                raw[name] = json_text.read(text)
            except ValueError:
                raise InvalidFields([FieldProblem(name, "must be a number")]) from None
    try:
        return msgspec.convert(raw, NewTaskBody)
    except msgspec.ValidationError as error:
        found = broken_rules.find(raw, NewTaskBody, "")
        raise InvalidFields(found or [FieldProblem("params", str(error))]) from None


def _params(form: Mapping[str, str], contract: ContractAnswer) -> Any:
    if form.get("as") != "json":
        return schema_form.params(form, schema_form.fields(contract.params))
    try:
        return json_text.read(form.get("params", ""))
    except ValueError as error:
        raise InvalidFields([FieldProblem("params", str(error))]) from None


def _chosen(kinds: list[ContractAnswer], name: str | None) -> ContractAnswer | None:
    return next((each for each in kinds if each.name == name), None)


def _answer(
    request: Request[Any, Any, Any],
    pages: Pages,
    kinds: list[ContractAnswer],
    contract: ContractAnswer | None,
    given: Mapping[str, str],
    rules: Mapping[str, str],
) -> Response[bytes]:
    wanted = schema_form.fields(contract.params) if contract else []
    shown = {*(field.name for field in wanted), *_EMPTY}
    return pages.answer(
        request,
        "submit.html.j2",
        kinds=kinds,
        contract=contract,
        wanted=wanted,
        given=_EMPTY | dict.fromkeys((f"p.{field.name}" for field in wanted), "") | dict(given),
        rules=rules,
        others={name: rule for name, rule in rules.items() if name not in shown},
    )
