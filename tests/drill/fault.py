"""Defines what a fault of the drill is: something that breaks under load, and the time within which
the design promises recovery.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.drill.crew import Crew
from tests.drill.network import Lay
from tests.platform import Platform

#: The type of a function that breaks something and returns when the fault is over. Recovery is
#: measured from that moment. The report includes the text that it returns.
Inflict = Callable[[Crew], Awaitable[str | None]]

#: Time limit in seconds, after the fault and the last submission. A task that has not ended by then
#: counts as stuck.
SETTLE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of the drill, with its title in the report and its promised time of recovery."""

    name: str
    title: str
    promised_s: float
    inflict: Inflict
    #: A function that is called before the processes of the scenario start. None if nothing has to
    #: be prepared.
    prepare: Callable[[Platform], Awaitable[None]] | None = None
    #: Seconds over which the submission of the load's tasks is spread.
    load_s: float = 0.0
    settle_s: float = SETTLE_S
    #: True if task bodies may run twice, because the fault ends a worker, makes it look dead, or
    #: restores a backup.
    deaths: bool = False
    #: True if several workers die one after another. A task that runs alone because its worker died
    #: may then lose its second worker, too, and be blamed although it is harmless.
    deaths_again: bool = False
    #: True if the database must be on a small file system of its own.
    small_disk: bool = False
    #: A function that sets up the network between the processes and the servers. None if they are
    #: connected directly.
    network: Lay | None = None
    #: Names of the parts of the system that the fault disturbs, or that must not be disturbed
    #: during it. Two faults without a common part can run at the same time.
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
    """Decorator that turns a function into a fault. The fault has the name of the function unless
    `name` is given.

    `parts` lists the names of parts of the system, separated by spaces.
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
