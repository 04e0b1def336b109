"""Defines the exit codes of the command `often`. docs/command_line.md explains them."""

import signal

DONE, WRONG, USAGE, REFUSED, NOT_FOUND, AWAY = range(6)
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
