"""What statements return of a task that changed, for `shared.transport.events.TaskChange`."""

#: Columns of `applied`, and of `task` itself.
CHANGED = """
    id, revision, status, name, queue, owner, progress_current, progress_total, progress_message, workflow,
    step
"""
