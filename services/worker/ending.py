"""The signals and the reasons for which a worker process ends."""

import enum
import signal

#: The signals that ask a worker to stop.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending(enum.Enum):
    """Why a worker process ends. The values are phrases for the log."""

    STOP = "it was asked to stop"
    DRAIN = "an operator asked it to drain"
    RECYCLE = "it has run its maximum number of tasks"
    MEMORY = "it has grown too large"
    RECYCLE_ASKED = "an operator asked it to start again"
    DEAD = "it was declared dead"
    BROKEN = "a background thread died"
    OVERTIME = "it runs a task body that does not end"


#: The reasons after which a new process replaces the worker. The values are label values of a
#: metric.
REPLACED = {
    Ending.RECYCLE: "tasks",
    Ending.MEMORY: "memory",
    Ending.RECYCLE_ASKED: "asked",
    Ending.DEAD: "dead",
    Ending.OVERTIME: "overtime",
}
