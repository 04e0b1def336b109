"""`python -m bench.peers.dbos.work`: a DBOS process that runs queued workflows."""

import threading

from dbos import DBOS

# Importing the module registers its workflows with DBOS.
from bench.peers.dbos import app  # noqa: F401

if __name__ == "__main__":
    DBOS.launch()
    threading.Event().wait()
