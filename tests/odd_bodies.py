"""Tasks with bodies that behave as a test has drawn at random: they call the context with any
arguments, and raise or return anything.

`python -m tests.odd_bodies` is the real worker process with these tasks.
"""

import base64
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.worker import registry
from services.worker.__main__ import main
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, Params, Retries
from tests.sample_tasks import Done, instant


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method of the task's context. `method` is the dotted name, such as `log.info`."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """What a task's body does: it makes these calls in order, and then raises or returns."""

    calls: tuple[Call, ...]
    #: Whether the body catches errors that its calls raise, and goes on.
    catches: bool
    #: Class, arguments and keyword arguments of the exception that the body raises at its end; None
    #: if it returns `returned`.
    raised: tuple[type[BaseException], tuple[Any, ...], tuple[tuple[str, Any], ...]] | None
    returned: Any


class Odd(Params):
    #: The body's Script, pickled and encoded as base64.
    script: str


def params(script: Script) -> Odd:
    return Odd(script=base64.b64encode(pickle.dumps(script)).decode())


ONCE_MORE = Retries(max_attempts=2, delay=timedelta(days=1), cap=timedelta(days=1))
ODD = Contract(name="sample.odd", queue="default", params=Odd, result=Done, retries=ONCE_MORE)
ODD_ASYNC = Contract(name="sample.odd_async", queue="default", params=Odd, result=Done, retries=ONCE_MORE)


def _script(odd: Odd) -> Script:
    script: Script = pickle.loads(base64.b64decode(odd.script))
    return script


def _end(script: Script) -> Any:
    if script.raised is None:
        return script.returned
    kind, arguments, options = script.raised
    raise kind(*arguments, **dict(options))


def _calls(context: TaskContext, script: Script) -> Iterator[Any]:
    """Make the script's calls, and yield what each returns.

    The first error ends this, unless the script catches errors.
    """
    for call in script.calls:
        try:
            found: Any = context
            for name in call.method.split("."):
                found = getattr(found, name)
            yield found(*call.arguments, **dict(call.options))
        except Exception:
            if not script.catches:
                raise


@task(ODD)
def odd(context: TaskContext, params: Odd) -> Done:
    """A body that does what its script says."""
    script = _script(params)
    for _ in _calls(context, script):
        pass
    result: Done = _end(script)
    return result


@task(ODD_ASYNC)
async def odd_async(context: TaskContext, params: Odd) -> Done:
    """An async body that does what its script says: it awaits what its calls return, and passes its
    transaction to `complete_in`.
    """
    script = _script(params)
    async with context.transaction() as transaction:
        for awaitable in _calls(context, script):
            try:
                if hasattr(awaitable, "__await__"):
                    await awaitable
            except Exception:
                if not script.catches:
                    raise
        if isinstance(script.returned, Done):
            await context.complete_in(transaction, script.returned)
    result: Done = _end(script)
    return result


TASKS: dict[str, TaskFunction[Any, Any]] = {}
registry.add(TASKS, [odd, odd_async, instant])

if __name__ == "__main__":
    sys.exit(main(TASKS))
