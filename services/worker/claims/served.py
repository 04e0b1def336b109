"""Keeps track of the queues from which this worker may take tasks at the moment."""

from collections.abc import Collection, Sequence


class Served:
    """The queues of one worker. A queue is open if the worker may take its tasks.

    A paused queue is not open. While the worker is quiet, none of its queues is open.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.paused: frozenset[str] = frozenset()
        self.quiet = False
        #: The open queues, from which the worker fetches.
        self.open = self.names

    def follow(self, paused: Collection[str], *, quiet: bool) -> frozenset[str]:
        """Apply the pauses and the quiet state. Returns the queues that were open before and no
        longer are.
        """
        before = frozenset(self.open)
        self.paused, self.quiet = frozenset(paused), quiet
        self.open = () if quiet else tuple(name for name in self.names if name not in self.paused)
        return before.difference(self.open)

    @property
    def paused_here(self) -> tuple[str, ...]:
        """Paused queues from which this worker may still run single tasks, if operators let them
        run in spite of the pause.
        """
        return () if self.quiet else tuple(name for name in self.names if name in self.paused)

    def takes(self, queue: str) -> bool:
        """Return True if a task of this queue may start on this worker."""
        return queue in self.open
