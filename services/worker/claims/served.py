"""From which of its queues this worker takes tasks right now."""

from collections.abc import Collection, Sequence


class Served:
    """The queues of one worker. Paused ones are left out, and all of them while it is quiet."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.paused: frozenset[str] = frozenset()
        self.quiet = False
        #: Queues to fetch from.
        self.open = self.names

    def follow(self, paused: Collection[str], *, quiet: bool) -> frozenset[str]:
        """Take over what the ledger says. Returns the queues that were open until now and are so no more."""
        before = frozenset(self.open)
        self.paused, self.quiet = frozenset(paused), quiet
        self.open = () if quiet else tuple(name for name in self.names if name not in self.paused)
        return before.difference(self.open)

    @property
    def paused_here(self) -> tuple[str, ...]:
        """Paused queues of which an operator may let single tasks run here."""
        return () if self.quiet else tuple(name for name in self.names if name in self.paused)

    def takes(self, queue: str) -> bool:
        """Whether a task of this queue may start here."""
        return queue in self.open
