"""Lets a round go on with its other items after Postgres has canceled a statement of one of them.

Postgres cancels a statement that takes too long, for example because it waits for a lock. A round
that ended there would begin with the same item again, and never reach those behind it.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from shared.errors import ServerRefuses
from shared.ledger import sqlstate

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Number of canceled statements at which a round ends. Each of them took up to 5 s, or 10 s if the
#: item was first tried as a part of a group, and a loop counts as stalled after 60 s.
MAX_CANCELED = 3


class SlowItems(Generic[T]):
    """The items of a service whose statements were canceled. They come last in each round."""

    def __init__(self, field: str) -> None:
        """`field` is the name of the field that identifies an item in log lines."""
        self._field = field
        self._slow: set[T] = set()
        #: The canceled statements of this round.
        self.errors: list[ServerRefuses] = []

    def begin_round(self, items: Iterable[T]) -> tuple[list[T], list[T]]:
        """Begin a round. Returns the items that are not slow and those that are, both in the given
        order. Slow items that are not among the given ones are forgotten.
        """
        given = list(items)
        self.errors = []
        self._slow.intersection_update(given)
        others = [item for item in given if item not in self._slow]
        return others, [item for item in given if item in self._slow]

    @contextmanager
    def tolerating(self, item: T) -> Iterator[None]:
        """Log a canceled statement of this item instead of raising it, unless there were too many
        in this round.
        """
        try:
            yield
        except ServerRefuses as error:
            if not was_canceled(error):
                raise
            self._slow.add(item)
            self.errors.append(error)
            text = "a statement was canceled; the round goes on and the next one tries this item last"
            log.warning(text, extra={self._field: str(item)}, exc_info=True)
            if len(self.errors) >= MAX_CANCELED:
                raise
        else:
            self._slow.discard(item)

    def end_round(self) -> None:
        """Raise the last error that was tolerated in this round, if there was one.

        The round then counts as failed, and the next one follows after a pause.
        """
        if self.errors:
            raise self.errors[-1]


def was_canceled(error: BaseException) -> bool:
    """True if Postgres has canceled the statement."""
    return isinstance(error, ServerRefuses) and error.sqlstate == sqlstate.QUERY_CANCELED
