"""API calls that submit tasks, and requests to routes that an application adds.

Every submission has an idempotency key. A request whose answer was lost can therefore be sent
again, and the task is stored once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from often_client.answers import BatchSubmitted, Catalogue, Contract, Submitted
from often_client.exchange import Call, Steps, new_key
from often_client.methods import Calls, method


class SubmissionCalls(Calls):
    @method
    def submit(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> Steps[UUID]:
        """Submit a task and return its id.

        Within a day, calls with the same `key` submit one task and return the same id. `priority` is 0
        to 9, and 9 is served first. Times need a time zone. From `expires_at` on, the task does not
        start any more.
        """
        body = {
            "name": name,
            "params": params or {},
            "priority": priority,
            "delay_s": delay_s,
            "run_at": run_at,
            "expires_at": expires_at,
        }
        submitted = yield from self._ask(Call("POST", "tasks", Submitted, body=body, key=key or new_key()))
        return submitted.task_id

    @method
    def submit_batch(
        self, tasks: Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> Steps[list[UUID]]:
        """Submit 1 to 10,000 tasks, either all or none. Returns their ids in the same order.

        Each task is a mapping with the arguments of `submit`, except `key`.
        """
        call = Call("POST", "tasks/batch", BatchSubmitted, body={"tasks": tasks}, key=key or new_key())
        return (yield from self._ask(call)).task_ids

    @method
    def catalogue(self) -> Steps[list[Contract]]:
        """List the kinds of tasks that this account may submit, with the schemas of their
        parameters and results.
        """
        return (yield from self._ask(Call("GET", "catalogue", Catalogue))).tasks

    @method
    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Steps[Any]:
        """Send a POST request to a route that an application adds, such as `tasks/email`. Returns
        the decoded JSON.

        A request whose answer was lost is sent again only if you give a `key`: the route must
        accept the header Idempotency-Key, as routes that submit a task do.
        """
        return self._ask(Call("POST", path, Any, body=body, key=key))

    @method
    def get(self, path: str, /, **query: Any) -> Steps[Any]:
        """Send a GET request to a route that an application adds. Returns the decoded JSON."""
        return self._ask(Call("GET", path, Any, query=query))
