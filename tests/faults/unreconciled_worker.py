"""`python -m tests.faults.unreconciled_worker`: a test worker that compares Redis and Postgres with
its memory at its start and not again while it runs.
"""

import sys

from services.worker import process
from tests import sample_worker

if __name__ == "__main__":
    process.RECONCILE_S = 3_600.0  # type: ignore[attr-defined] # it is imported there
    sys.exit(sample_worker.main())
