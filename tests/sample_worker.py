"""`python -m tests.sample_worker`: the real worker process with the sample tasks beside the real ones."""

import sys

from services.worker.__main__ import main
from tests import hostile_tasks, sample_tasks, starting_tasks

if __name__ == "__main__":
    sys.exit(main(sample_tasks.TASKS | hostile_tasks.TASKS | starting_tasks.TASKS))
