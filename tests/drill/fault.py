"""What a fault is: one thing that breaks under load, and what the design promises about it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.drill.crew import Crew
from tests.drill.network import Lay
from tests.platform import Platform

#: Breaks something and returns when the fault is over; recovery is measured from then. The text is added to
#: the report.
Inflict = Callable[[Crew], Awaitable[str | None]]

#: A task that is not final this long after the fault and after the last submission counts as stuck.
SETTLE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that breaks, its title in the report, and how long the system may take to recover."""

    name: str
    title: str
    promised_s: float
    inflict: Inflict
    #: Runs before the processes start.
    prepare: Callable[[Platform], Awaitable[None]] | None = None
    #: The load is spread over this time.
    load_s: float = 0.0
    settle_s: float = SETTLE_S
    #: The fault ends a worker, has it declared dead or restores a backup, so a body may run twice.
    deaths: bool = False
    #: Deaths follow each other. A suspect that runs alone may die with its worker, and is blamed for it.
    deaths_again: bool = False
    #: The database needs a file system of its own that can be filled.
    small_disk: bool = False
    #: Leads the processes to their servers; None: nothing is in between.
    network: Lay | None = None
    #: Parts that it disturbs, or that it needs undisturbed. Faults that share none can happen at once.
    parts: frozenset[str] = frozenset()


def fault(
    title: str,
    *,
    promised_s: float,
    name: str = "",
    prepare: Callable[[Platform], Awaitable[None]] | None = None,
    load_s: float = 0.0,
    settle_s: float = SETTLE_S,
    deaths: bool = False,
    deaths_again: bool = False,
    small_disk: bool = False,
    network: Lay | None = None,
    parts: str = "",
) -> Callable[[Inflict], Fault]:
    """Make a function a fault. The fault has the function's name unless `name` is given.

    `parts` are words.
    """

    def make(inflict: Inflict) -> Fault:
        return Fault(
            name=name or inflict.__name__,
            title=title,
            promised_s=promised_s,
            inflict=inflict,
            prepare=prepare,
            load_s=load_s,
            settle_s=settle_s,
            deaths=deaths,
            deaths_again=deaths_again,
            small_disk=small_disk,
            network=network,
            parts=frozenset(parts.split()),
        )

    return make
