"""The protocol number of a release, by which other processes know what its workers can do.

Each worker writes it to its row in the table `worker`. During a deploy, workers of two releases run
at the same time.
"""

#: The protocol number of this release. With protocol 1, a worker appends a workflow event when a
#: task ends, and can read parameters from the results of other steps.
PROTOCOL = 1
