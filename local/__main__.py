"""`make run`: starts the whole system on this machine and keeps it up until Ctrl-C."""

import signal
import sys

# Restore the default handling of Ctrl-C before the imports below. Otherwise, Ctrl-C during these
# imports would print a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from local.launcher import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
