"""The number by which a worker's row says what its release can do. A deploy has workers of two releases."""

#: 1: the end of a task appends an event of its workflow, and parameters are read from other steps.
PROTOCOL = 1
