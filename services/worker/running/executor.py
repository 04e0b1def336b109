"""Runs the body of one task in a thread of Dramatiq."""

import contextvars
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from services.worker.claims.claim import Attempt
from services.worker.registry import TaskFunction
from services.worker.running import event_loop
from services.worker.running.context import Context, Means
from services.worker.running.interrupts import interruptible
from services.worker.running.stacks import BODY
from services.worker.workflows.inputs import Inputs
from shared.telemetry import tracing
from shared.telemetry.redaction import redacting
from shared.vault import params_row


class Executor:
    """The function that all Dramatiq actors of this process call."""

    def __init__(
        self,
        tasks: Mapping[str, TaskFunction[Any, Any]],
        means: Means,
    ) -> None:
        self._tasks = tasks
        self._means = means
        contracts = {name: task.contract for name, task in tasks.items()}
        self._reader = Inputs(means.database, contracts, means.vault)

    def __call__(self, attempt: Attempt) -> None:
        """Run the task body, and store what it returns or raises in the attempt.

        The exception is not raised again, because Dramatiq gives some exceptions a meaning: after a
        SkipMessage, it would not handle the outcome of the task.
        """
        try:
            with interruptible(attempt):
                returned = self._run(attempt)
                # If the body returns None, `attempt.returned` stays unchanged: `complete_in` may
                # have set it.
                attempt.returned = returned if returned is not None else attempt.returned
        except BaseException as error:  # noqa: BLE001 - whatever a body raises ends its attempt, not a thread
            attempt.error = error

    def _run(self, attempt: Attempt) -> Any:
        task = self._tasks[attempt.name]
        claim = attempt.claim
        params, attempt.secrets = self._means.vault.open_params(
            task.contract,
            claim.params,
            params_row(claim.id, claim.workflow, claim.step, claim.member),
            claim.owner,
            claim.contract_version,
            self._inputs(attempt),
        )
        context = Context(attempt, task.contract, self._means)
        attempt.context = context

        def call() -> Any:
            BODY.set(claim.id)
            called = task(context, params)
            # The new asyncio task runs in a copy of the current context, so context variables have
            # to be set before.
            return event_loop.run(called, name=str(attempt)) if inspect.iscoroutine(called) else called

        around = task.hooks.around

        def call_within() -> Any:
            with redacting(attempt.secrets), around(context, params) if around else nullcontext():
                return call()

        # The body runs in a copy of the context, so that context variables that it sets do not
        # reach the next task of this thread.
        own = contextvars.copy_context()
        if attempt.span is not None:
            own.run(tracing.enter, attempt.span)
        return own.run(call_within if attempt.secrets or around else call)

    def _inputs(self, attempt: Attempt) -> Mapping[str, Any] | None:
        """Read the parameters that are taken from other steps of the task's workflow."""
        claim = attempt.claim
        if claim.inputs is None or claim.workflow is None:
            return None
        reading = self._reader.read(claim.workflow, claim.inputs)
        return event_loop.run(reading, name=f"inputs of {attempt}")
