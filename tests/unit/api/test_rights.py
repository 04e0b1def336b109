"""Tests that the table of rights and the API's routes match."""

import pytest
from litestar import Litestar, Router, get, post
from litestar.middleware import DefineMiddleware

from services.api.identity.auth import SignedIn, admits
from services.api.identity.rights import Reach, Reader, Right, Rights, Scope
from shared.identity.tables import Role


@get("/known")
async def _known() -> None: ...


@get("/forgotten")
async def _forgotten() -> None: ...


@get("/open")
async def _open() -> None: ...


@post("/act")
async def _act() -> None: ...


RIGHTS = Rights(
    {"GET /known": Right(Scope.TASKS_READ, Reach.OWN, Reach.NONE, Reach.ALL, Reach.ALL)},
    {"GET /open": ()},
)

#: The middleware by which a route is protected. It needs no callers and limits here, because these
#: tests send no requests.
SIGNED_IN = DefineMiddleware(SignedIn, callers=None, limits=None, rights=RIGHTS)


def _app(protected: list[object], public: list[object]) -> Litestar:
    router = Router("", route_handlers=protected, middleware=[SIGNED_IN])  # type: ignore[arg-type]
    return Litestar([router, *public], openapi_config=None)  # type: ignore[list-item]


def test_an_application_that_fits_the_table_is_taken() -> None:
    RIGHTS.check(_app([_known], [_open]), admits)


@pytest.mark.parametrize(
    ("protected", "public", "missing"),
    [
        ([_known, _forgotten], [_open], "GET /forgotten"),
        ([_known], [_open, _forgotten], "GET /forgotten"),
        ([_known, _open], [], "GET /open"),
        ([_open], [_known], "GET /open"),
        ([], [_open], "GET /known"),
        ([_known], [], "GET /open"),
    ],
    ids=["no right", "not public", "guarded", "swapped", "right without route", "public without route"],
)
def test_an_application_that_differs_from_the_table_is_refused(
    protected: list[object], public: list[object], missing: str
) -> None:
    with pytest.raises(LookupError, match=missing):
        RIGHTS.check(_app(protected, public), admits)


@pytest.mark.parametrize("is_public", [True, False])
def test_a_changing_route_that_forgets_the_audit_log_is_refused(is_public: bool) -> None:
    right = Right(Scope.TASKS_WRITE, Reach.OWN, Reach.NONE, Reach.ALL, Reach.ALL)
    forgetful = Rights({} if is_public else {"POST /act": right}, {"POST /act": ()} if is_public else {})
    middleware = [] if is_public else [SIGNED_IN]
    router = Router("", route_handlers=[_act], middleware=middleware)
    with pytest.raises(LookupError, match="record no audit action: POST /act"):
        forgetful.check(Litestar([router], openapi_config=None), admits)


def test_scopes_are_those_of_routes_that_the_role_may_use() -> None:
    assert RIGHTS.scopes_of(Role.USER) == {Scope.TASKS_READ}
    assert RIGHTS.scopes_of(Role.VIEWER) == set()


@pytest.mark.parametrize(
    ("role", "sees_tracebacks"),
    [(Role.USER, False), (Role.VIEWER, False), (Role.OPERATOR, True), (Role.ADMINISTRATOR, True)],
)
def test_what_a_reader_sees_of_other_accounts(role: Role, sees_tracebacks: bool) -> None:
    reader = Reader(id=7, role=role, reach=Reach.OWN if role is Role.USER else Reach.ALL)
    assert reader.sees_tracebacks == sees_tracebacks
    assert [reader.may_unmask(owner) for owner in (7, 8, None)] == [True, False, False]
