"""Acts on several objects one after the other. If it cannot go on, it reports what was done."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from often_client.cli.output import note
from often_client.errors import ApiAway, ApiError

D = TypeVar("D")


def on_each(ids: Sequence[UUID], act: Callable[[UUID], D], show: Callable[[Sequence[D]], None]) -> None:
    """Call `act` for each id, and show all results together.

    A refusal or a time-out does not stop it; the first one is raised at the end. If the API stops
    answering, or the user presses Ctrl-C, the results so far are shown, and the ids that are left
    are listed on stderr.
    """
    done: list[D] = []
    failed: ApiError | TimeoutError | None = None
    try:
        for number, each in enumerate(ids):
            try:
                done.append(act(each))
            except (ApiError, TimeoutError) as error:
                failed = failed or error
                if len(ids) > 1:
                    note(f"{each}: {error}")
            except (ApiAway, KeyboardInterrupt) as error:
                _note_rest(ids[number:], is_first_unknown=getattr(error, "outcome_unknown", True))
                raise
    finally:
        if done:
            show(done)
    if failed is not None:
        raise failed


def _note_rest(rest: Sequence[UUID], *, is_first_unknown: bool) -> None:
    """List on stderr the ids that were not processed. With `is_first_unknown`, the first one may
    have been.
    """
    if is_first_unknown:
        note(f"May have been done: {rest[0]}")
        rest = rest[1:]
    if rest:
        note(f"Not done: {' '.join(map(str, rest))}")
