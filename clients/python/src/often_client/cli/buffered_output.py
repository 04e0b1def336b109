"""Ends the command's standard output without an error if its reader has left early, as `head`
does.
"""

import os
import sys


def finish(text: str = "") -> None:
    """Write a last text and everything that is still buffered to standard output.

    If the reader has left, the rest is discarded. Python would otherwise try to write it again at
    exit, and report the error.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
