"""The console's form that shows a task's sensitive fields to an administrator who enters their
password again. The audit log records it.
"""

from typing import Any
from uuid import UUID

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.audit.unmasking import unmasked
from services.api.console import addresses, documents
from services.api.console.pages import Pages
from services.api.identity.logins import Logins
from services.api.identity.passwords import Passwords
from services.api.identity.rights import Reader
from services.api.tasks.ledger_view import LedgerView
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database

WRONG = FieldProblem("password", "is wrong: enter the password of your account")
#: HTTP headers that keep browsers and proxies from caching a page that shows sensitive fields.
HEADERS = {"Cache-Control": "no-store"}


@post("/tasks/{task_id:uuid}/unmask")
async def unmask(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    passwords: NamedDependency[Passwords],
    logins: NamedDependency[Logins],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
) -> Response[bytes]:
    password = addresses.fields(await request.form()).get("password", "")[:1024]
    row = await ledger.find(task_id, reader)
    with passwords.place(actor.network):
        if await logins.authenticate(request.user.email, password, actor) is None:
            raise InvalidFields([WRONG])
    sees = await unmasked(database, reader, Target("task", task_id), row["owner"], unmask=True)
    page = pages.answer(request, "unmasked.html.j2", task=ledger.answer(row, sees), documents=documents)
    page.headers.update(HEADERS)
    return page
