"""Combines faults of the drill in one scenario: one after another, or in a random order that a seed
determines.
"""

import asyncio
import random
from collections.abc import Sequence

from tests.drill.crew import Crew
from tests.drill.fault import Fault, fault

#: Promised seconds of recovery from the last of many faults. The system may still be recovering
#: from earlier ones.
PROMISED_S = 60.0
PAUSE_S = 3.0
#: Probability that two faults are applied at the same time instead of one.
TWO_AT_ONCE = 0.5


def in_turn(name: str, *faults: Fault) -> Fault:
    """Combine these faults into one that applies them one after another."""

    @fault(
        ", then ".join(f.title for f in faults),
        name=name,
        promised_s=max(f.promised_s for f in faults),
        deaths=any(f.deaths for f in faults),
    )
    async def inflict(crew: Crew) -> str:
        return "; ".join([await f.inflict(crew) or "" for f in faults])

    return inflict


def at_random(choice: Sequence[Fault], *, seed: int, seconds: float) -> Fault:
    """Create a fault that applies randomly chosen faults one after another. Sometimes, it applies
    two at the same time, which must not have a part in common.

    The same seed gives the same order, but not the same timing.
    """

    @fault(
        f"all of them at random, one or two at once, {seconds:g} s, seed {seed}",
        name="random",
        promised_s=PROMISED_S,
        load_s=seconds,
        deaths=True,
        deaths_again=True,
    )
    async def inflict(crew: Crew) -> str:
        dice = random.Random(seed)
        ends = asyncio.get_running_loop().time() + seconds
        names: list[str] = []
        failed: list[str] = []
        while asyncio.get_running_loop().time() < ends:
            chosen = draw(dice, choice)
            names.append(" with ".join(f.name for f in chosen))
            failed += await _at_once(chosen, crew)
            await asyncio.sleep(dice.uniform(0, PAUSE_S))
        assert not failed, f"{', '.join(names)}: {'; '.join(failed)}"
        return f"{len(names)} times: {', '.join(names)}"

    return inflict


def draw(dice: random.Random, choice: Sequence[Fault]) -> list[Fault]:
    """Choose one fault at random, or two that have no part in common."""
    first = dice.choice(choice)
    apart = [fault for fault in choice if not fault.parts & first.parts]
    return [first, dice.choice(apart)] if apart and dice.random() < TWO_AT_ONCE else [first]


async def _at_once(chosen: Sequence[Fault], crew: Crew) -> list[str]:
    """Apply these faults at the same time. Returns the messages of their own checks that failed."""
    ended = await asyncio.gather(*(f.inflict(crew) for f in chosen), return_exceptions=True)
    failed = []
    for fault_, error in zip(chosen, ended, strict=True):
        if isinstance(error, AssertionError):
            failed.append(f"{fault_.name}: {error}")
        elif isinstance(error, BaseException):
            raise error
    return failed
