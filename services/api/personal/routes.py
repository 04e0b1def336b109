"""The API routes that export and erase the data of accounts."""

from litestar import Router, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from services.api.audit.actor import Actor
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.refusals import AccountNotFound
from services.api.identity import accounts
from services.api.identity.account_schemas import Account
from services.api.identity.logins import Logins
from services.api.identity.passwords import Passwords
from services.api.identity.rights import Reader
from services.api.personal.erasure import Erasures
from services.api.personal.exports import Exports
from services.api.personal.schemas import ErasureBody
from services.api.tasks.schemas import Submitted
from shared.errors import FieldProblem, InvalidFields


@get(
    "/auth/me/export",
    summary="Export everything that is stored about me",
    description="One JSON document. If the answer is cut off, it is not valid JSON; send the request again.",
    media_type="application/json",
    responses=documented(401, 403, 504),
)
async def export_me(
    user: NamedDependency[Account], reader: NamedDependency[Reader], exports: NamedDependency[Exports]
) -> Stream:
    disposition = f'attachment; filename="account-{user.id}.json"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Stream(await exports.open(user, reader), media_type="application/json", headers=headers)


@delete(
    "/auth/me",
    summary="Erase my account",
    operation_class=example({"password": "correct horse"}),
    description="Ends all sessions and keys at once and cancels your tasks. Everything that is stored about "
    "you is erased once your running tasks have ended. It cannot be undone.",
    status_code=202,
    responses=documented(400, 401, 403, 409, 413),
)
async def erase_me(
    data: JSONBody[ErasureBody],
    user: NamedDependency[Account],
    passwords: NamedDependency[Passwords],
    logins: NamedDependency[Logins],
    erasures: NamedDependency[Erasures],
    actor: NamedDependency[Actor],
) -> Submitted:
    with passwords.place(actor.network):
        if await logins.authenticate(user.email, data.password, actor) is None:
            raise InvalidFields([FieldProblem("password", "is wrong: enter the password of your account")])
    task_id = await erasures.request(user.id, actor)
    return Submitted(
        task_id, "queued", "Your sessions and keys have ended, and your account is being erased."
    )


@delete(
    "/accounts/{account_id:int}",
    summary="Erase an account",
    description="The account is inactive from now on, and erased once its running tasks have ended. It "
    "cannot be undone. If the task has failed or was canceled, the same request starts another one.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409),
)
async def erase_account(
    account_id: FromPath[int], erasures: NamedDependency[Erasures], actor: NamedDependency[Actor]
) -> Submitted:
    if not accounts.is_possible(account_id):
        raise AccountNotFound(account_id)
    task_id = await erasures.request(account_id, actor)
    message = f"The account is inactive and being erased; GET /api/v1/tasks/{task_id} shows the progress."
    return Submitted(task_id, "queued", message)


ROUTER = Router("", route_handlers=[export_me, erase_me, erase_account], tags=["accounts"])
