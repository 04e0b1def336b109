"""Several faults in one scenario: one after the other, or in an order that a seed decides."""

import asyncio
import random
from collections.abc import Sequence

from tests.drill.crew import Crew
from tests.drill.fault import Fault, fault

#: Promised after the last of many faults: each of them may still be under repair.
PROMISED_S = 60.0
PAUSE_S = 3.0


def in_turn(name: str, *faults: Fault) -> Fault:
    """All of these, each as soon as the one before is over."""

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
    """One of `choice` after the other. The seed repeats the order, not the moments."""

    @fault(
        f"all of them at random, {seconds:g} s, seed {seed}",
        name="random",
        promised_s=PROMISED_S,
        load_s=seconds,
        deaths=True,
    )
    async def inflict(crew: Crew) -> str:
        dice = random.Random(seed)
        ends = asyncio.get_running_loop().time() + seconds
        names: list[str] = []
        failed: list[str] = []
        while asyncio.get_running_loop().time() < ends:
            chosen = dice.choice(choice)
            names.append(chosen.name)
            try:
                await chosen.inflict(crew)
            except AssertionError as error:
                failed.append(f"{chosen.name}: {error}")
            await asyncio.sleep(dice.uniform(0, PAUSE_S))
        assert not failed, "; ".join(failed)
        return f"{len(names)} faults: {', '.join(names)}"

    return inflict
