"""`python -m bench.peers.dbos.work`: a process that runs what is queued."""

import threading

from dbos import DBOS

# Importing it makes the workflows known.
from bench.peers.dbos import app  # noqa: F401

if __name__ == "__main__":
    DBOS.launch()
    threading.Event().wait()
