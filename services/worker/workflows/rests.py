"""Decides how long a workflow rests before it is advanced again while members of a group are open.

Each advance applies all ends since the previous one, so fewer advances cost less. A rest must be
over before the group ends, because its end lets the next step begin. A worker does not know how many
other workers run members, so it derives the rate from what two advances have found. This module has
no side effects.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

#: Rest in seconds per open member after the first advance, when the rate is not known yet. It is a
#: fifth of the time in which two workers run a task that does nothing.
FIRST_MEMBER_S = 20e-6
#: Share of the time that the group still needs at its present rate, after which the workflow is
#: advanced again.
SHARE = 0.5
#: Upper limit of the rest per open member, so that a small group of long tasks does not rest.
MEMBER_S = 100e-6
#: Upper limit of every rest. The failure of a member, or the first success, is noticed at most this
#: much later.
MAX_S = 0.25
#: Maximum number of workflows whose last advance is known. Another process may end a group, so that
#: this process does not learn of its end.
MAX_KNOWN = 1_000


@dataclass(frozen=True, slots=True)
class _Advance:
    """What an advance of a workflow has found."""

    at: float
    members: int


class Rests:
    """The rests of all workflows of this process. All times are from one monotonic clock."""

    def __init__(self) -> None:
        self._last: dict[UUID, _Advance] = {}

    def after(self, workflow: UUID, members: int, now: float) -> float:
        """Return the rest in seconds after an advance that has found this many open members."""
        last = self._last.pop(workflow, None)
        self._last[workflow] = _Advance(now, members)
        if len(self._last) > MAX_KNOWN:
            self._last.pop(next(iter(self._last)))
        return min(self._by_rate(last, members, now), members * MEMBER_S, MAX_S)

    def _by_rate(self, last: _Advance | None, members: int, now: float) -> float:
        if last is None:
            return members * FIRST_MEMBER_S
        ended = last.members - members
        return SHARE * members * (now - last.at) / ended if ended > 0 else MAX_S

    def forget(self, workflows: Iterable[UUID]) -> None:
        """Note that these workflows do not wait for members of a group any more."""
        for workflow in workflows:
            self._last.pop(workflow, None)
