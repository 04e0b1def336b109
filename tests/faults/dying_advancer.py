"""`python -m tests.faults.dying_advancer`: a test worker that dies right after recording the end of
a workflow's task, before it advances the workflow.
"""

import os
import signal
import sys

from services.worker import __main__ as worker
from services.worker.workflows.workflows import Workflows
from tests.sample_tasks import TASKS


def die(_: Workflows, workflows: object) -> None:
    """Kill this process. The function replaces the one that is called after the commit to advance
    workflows.
    """
    if workflows:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Workflows.poke = die  # type: ignore[method-assign,assignment]
    sys.exit(worker.main(TASKS))
