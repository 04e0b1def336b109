"""What a worker's release can do, as its row says: a rolling deploy has workers of two releases."""

#: 1: the end of a task appends an event of its workflow, and parameters are read from other steps.
PROTOCOL = 1
