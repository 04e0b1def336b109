"""Why a worker process ends, and what follows."""

import enum


class Ending(enum.Enum):
    """Why a process ends."""

    STOP = "it was asked to stop"
    DRAIN = "an operator asked it to drain"
    RECYCLE = "it has run its share of tasks or grown too large"
    RECYCLE_ASKED = "an operator asked it to begin anew"
    DEAD = "it was declared dead"
    BROKEN = "a background thread died"
    OVERTIME = "it runs a body that does not end"


#: After these a new worker takes the place of the process.
REPLACED = frozenset({Ending.RECYCLE, Ending.RECYCLE_ASKED, Ending.DEAD, Ending.OVERTIME})
