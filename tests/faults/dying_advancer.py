"""`python -m tests.faults.dying_advancer`: a worker that dies once it has recorded an end of a workflow."""

import os
import signal
import sys

from services.worker import __main__ as worker
from services.worker.workflows.workflows import Workflows
from tests.sample_tasks import TASKS


def die(_: Workflows, workflows: object) -> None:
    """Takes the place of the poke that follows the commit."""
    if workflows:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Workflows.poke = die  # type: ignore[method-assign,assignment]
    sys.exit(worker.main(TASKS))
