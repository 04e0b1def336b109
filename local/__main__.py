"""`make run`: starts the whole system on this machine and keeps it up until Ctrl-C."""

import signal
import sys

# First of all: Ctrl-C while the rest is imported ends the program without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from local.launcher import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
