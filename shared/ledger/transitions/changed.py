"""The columns that SQL statements return for each task that they changed.

`shared.transport.events.TaskChange`, which announces the change, needs these columns.
"""

#: The columns as SQL. They are read from the CTE `applied`, which contains the changed tasks, or
#: from the table `task`.
CHANGED = """
    id, revision, status, name, queue, owner, progress_current, progress_total, progress_message, workflow,
    step
"""
