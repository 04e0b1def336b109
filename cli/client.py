"""A client of the API: typed answers, errors that say what to do, and retries that submit nothing twice.

with Client("http://127.0.0.1:8000", api_key) as api:
    task_id = api.submit("system.health_check", {})
    print(api.wait(task_id).result)
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import httpx
import msgspec

from cli.answers import (
    Account,
    Attempt,
    BatchSubmitted,
    Problem,
    Submitted,
    Task,
    TaskLogs,
    TaskPage,
    Tokens,
)

A = TypeVar("A")

TIMEOUT_S = 30.0
#: A request that the API could not take for now is sent this often, with these pauses unless it names one.
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 4.0)
#: For now: rate limited, or a server behind the API is away.
PASSING = frozenset({429, 503})
#: A longer pause is not waited for: the quota of a day may be used up.
LONGEST_PAUSE_S = 60.0
POLL_S = 0.25
JSON = {"Content-Type": "application/json"}


class ApiError(Exception):
    """The API refused; `problem` says why and what to do next."""

    def __init__(self, problem: Problem) -> None:
        rules = "".join(f"\n  {error.field or 'body'}: {error.rule}" for error in problem.errors)
        super().__init__(f"{problem.detail}{rules}")
        self.problem = problem


class ApiAway(Exception):
    """The API does not answer at all."""


class Client:
    """Signed in with an API key or an access token, or by `sign_in`. For one thread at a time."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self._http = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/api/v1/", timeout=TIMEOUT_S, trust_env=False
        )
        self._refresh_token: str | None = None
        if token is not None:
            self._bear(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # People.

    def register(self, email: str, password: str, full_name: str | None = None) -> Account:
        body = {"email": email, "password": password, "full_name": full_name}
        return self._post("auth/register", body, Account)

    def sign_in(self, email: str, password: str) -> None:
        self._signed_in(self._post("auth/login", {"email": email, "password": password}, Tokens))

    def me(self) -> Account:
        return self._get("auth/me", Account)

    # Tasks.

    def submit(
        self,
        name: str,
        params: Mapping[str, Any],
        *,
        priority: int | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> UUID:
        """Submit a task; `key` makes repeated calls one submission, for a day."""
        body = {
            "name": name,
            "params": params,
            "priority": priority,
            "delay_s": delay_s,
            "run_at": run_at,
            "expires_at": expires_at,
        }
        return self._submit("tasks", body, key, Submitted).task_id

    def submit_batch(self, tasks: Sequence[Mapping[str, Any]], *, key: str | None = None) -> list[UUID]:
        """Submit up to 10,000 tasks, all or none."""
        return self._submit("tasks/batch", {"tasks": tasks}, key, BatchSubmitted).task_ids

    def send_mail(
        self, user_id: int, email_type: str, data: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> UUID:
        body = {"user_id": user_id, "email_type": email_type, "data": data or {}}
        return self._submit("tasks/email", body, key, Submitted).task_id

    def task(self, task_id: UUID) -> Task:
        return self._get(f"tasks/{task_id}", Task)

    def tasks(self, **filters: Any) -> Iterator[Task]:
        """Newest first, page after page; `filters` as GET /api/v1/tasks takes them."""
        cursor = None
        while True:
            page = self._get("tasks", TaskPage, **filters, **({"cursor": cursor} if cursor else {}))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def attempts(self, task_id: UUID) -> list[Attempt]:
        return self._get(f"tasks/{task_id}/attempts", list[Attempt])

    def logs(self, task_id: UUID, *, level: str = "debug", limit: int = 100) -> TaskLogs:
        return self._get(f"tasks/{task_id}/logs", TaskLogs, level=level, limit=limit)

    def cancel(self, task_id: UUID) -> Submitted:
        return self._ask("DELETE", f"tasks/{task_id}", Submitted)

    def retry(self, task_id: UUID) -> Submitted:
        """Run a failed or canceled task again; for operators."""
        return self._ask("POST", f"tasks/{task_id}/retry", Submitted)

    def wait(self, task_id: UUID, timeout_s: float = 60.0) -> Task:
        """The task once it is final. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not (task := self.task(task_id)).is_final:
            if time.monotonic() > deadline:
                raise TimeoutError(f"task {task_id} is still {task.status} after {timeout_s:g} s")
            time.sleep(POLL_S)
        return task

    # Requests.

    def _submit(self, path: str, body: Mapping[str, Any], key: str | None, kind: type[A]) -> A:
        # With a key of its own a request whose answer was lost can be sent again.
        return self._post(path, body, kind, {"Idempotency-Key": key or str(uuid4())})

    def _get(self, path: str, kind: type[A], **params: Any) -> A:
        return self._ask("GET", path, kind, params=params)

    def _post(self, path: str, body: Any, kind: type[A], headers: Mapping[str, str] | None = None) -> A:
        content = msgspec.json.encode(body)
        return self._ask("POST", path, kind, content=content, headers={**(headers or {}), **JSON})

    def _ask(self, method: str, path: str, kind: type[A], **request: Any) -> A:
        response = self._send(method, path, **request)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._refresh_token is not None:
            self._renew()
            response = self._send(method, path, **request)
        if response.is_error:
            raise ApiError(_problem(response))
        return msgspec.json.decode(response.content, type=kind)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send, and again while the API is only away for now."""
        repeatable = method == "GET" or "Idempotency-Key" in request.get("headers", {})
        for pause_s in (*(PAUSES_S if repeatable else ()), None):
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                if pause_s is None:
                    raise ApiAway(f"{self._http.base_url} does not answer: {error}") from error
                time.sleep(pause_s)
                continue
            if response.status_code not in PASSING or pause_s is None:
                break
            asked_s = _asked_pause_s(response, pause_s)
            if asked_s > LONGEST_PAUSE_S:
                break
            time.sleep(asked_s)
        return response

    def _renew(self) -> None:
        refresh_token, self._refresh_token = self._refresh_token, None
        self._signed_in(self._post("auth/refresh", {"refresh_token": refresh_token}, Tokens))

    def _signed_in(self, tokens: Tokens) -> None:
        self._refresh_token = tokens.refresh_token
        self._bear(tokens.access_token)

    def _bear(self, token: str) -> None:
        self._http.headers["Authorization"] = f"Bearer {token}"


def _problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return Problem(response.status_code, f"{response.status_code} {response.reason_phrase}")


def _asked_pause_s(response: httpx.Response, otherwise_s: float) -> float:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else otherwise_s
