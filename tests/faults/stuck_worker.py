"""`python -m tests.faults.stuck_worker WAY`: a test worker that never finishes draining when it has
to stop. Its drain either waits (`waits`), or keeps the interpreter (`hogs`), as a task body may do
meanwhile.
"""

import sys
import threading

from services.worker import __main__ as worker
from services.worker import process
from tests.sample_tasks import HOG, TASKS


def waits() -> None:
    threading.Event().wait()


def hogs() -> None:
    TASKS[HOG.name].function(None, None)  # type: ignore[arg-type] # the body uses neither


if __name__ == "__main__":
    process.EXIT_MARGIN_S = 0.5
    never_ends = {"waits": waits, "hogs": hogs}[sys.argv[1]]
    process.WorkerProcess._drain = lambda _: never_ends()  # type: ignore[method-assign,assignment]
    sys.exit(worker.main(TASKS))
