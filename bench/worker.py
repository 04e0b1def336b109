"""`python -m bench.worker`: the real worker process, with the tasks of the benchmarks in addition
to the real ones.
"""

import sys

from bench.tasks import TASKS
from services.worker.__main__ import main

if __name__ == "__main__":
    sys.exit(main(TASKS))
