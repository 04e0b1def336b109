"""`python -m tests.sample_worker` is the real worker process, with the sample tasks in addition to
the real ones.
"""

import sys

from services.worker import __main__ as worker
from tests import hostile_tasks, sample_tasks, starting_tasks


def main() -> int:
    return worker.main(sample_tasks.TASKS | hostile_tasks.TASKS | starting_tasks.TASKS)


if __name__ == "__main__":
    sys.exit(main())
