"""`python -m tests.faults.stuck_worker`: a test worker that never finishes draining when it has to
stop.
"""

import sys
import threading

from services.worker import __main__ as worker
from services.worker import process
from tests.sample_tasks import TASKS

if __name__ == "__main__":
    process.EXIT_MARGIN_S = 0.5
    process.WorkerProcess._drain = lambda *_: threading.Event().wait()  # type: ignore[method-assign,assignment]
    sys.exit(worker.main(TASKS))
