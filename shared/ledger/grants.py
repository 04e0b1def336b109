"""The rights in Postgres that each service has on the tables of tasks, workers and schedules.

Rights on a partitioned table cover its partitions, which have no rights of their own. Only the
owner of the tables deletes or drops tasks. Workers erase what belongs to an account: its log lines,
schedules and keys.
"""

from shared.roles import API, SCHEDULER, WORKER, Grants

#: Columns of `task` that the API may update, because its statements CANCEL, EDIT, RETRY, PURGE and
#: MARK_PUSHED write them. The name and the owner of a task are not among them.
_OPERATED = (
    "UPDATE (params, key_id, contract_version, queue, priority, status, claim, send_at, sent_at, "
    "completed_at, failures, crashes, suspect, started_at, execution_time_seconds, progress_current, "
    "progress_message, result, error_kind, error_message, error_traceback, error_fingerprint, "
    "cancel_requested_at, expires_at, wait_reason, revision)"
)

GRANTS: Grants = {
    API: {
        "task": ("SELECT", "INSERT", _OPERATED),
        "task_attempt": ("SELECT", "INSERT"),
        "task_log": ("SELECT",),
        "task_failure": ("SELECT", "INSERT", "UPDATE (fingerprint, failed_at)", "DELETE"),
        "task_minute": ("SELECT", "INSERT", "UPDATE"),
        "task_hour": ("SELECT",),
        "error_group": ("SELECT", "UPDATE (state, until, note, changed_at, changed_by)"),
        "error_hour": ("SELECT",),
        "worker": ("SELECT", "UPDATE (asked)"),
        "queue_control": ("SELECT", "INSERT", "UPDATE"),
        "schedule": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "schedule_firing": ("SELECT", "INSERT", "UPDATE"),
        "submission_key": ("SELECT", "INSERT", "UPDATE"),
        "workflow": ("SELECT", "INSERT", "UPDATE"),
        "workflow_step": ("SELECT", "INSERT", "UPDATE"),
        "workflow_event": ("SELECT", "INSERT"),
        "workflow_key": ("SELECT", "INSERT", "DELETE"),
        "bulk_act": ("SELECT", "INSERT", "UPDATE (stopped_at)"),
        "generation": ("SELECT",),
        "leader_lease": ("SELECT",),
        "migration": ("SELECT",),
    },
    WORKER: {
        "task": ("SELECT", "INSERT", "UPDATE"),
        "task_attempt": ("SELECT", "INSERT", "UPDATE (error_message, error_traceback)"),
        "task_log": ("SELECT", "INSERT", "DELETE"),
        "task_failure": ("SELECT", "INSERT", "UPDATE (owner, fingerprint, failed_at)", "DELETE"),
        "task_minute": ("SELECT", "INSERT", "UPDATE"),
        "error_group": ("SELECT", "INSERT", "UPDATE"),
        "error_hour": ("SELECT", "INSERT", "UPDATE"),
        "schedule": (
            "SELECT (source, params, task_name, owner, paused_by, overridden_by, ctid)",
            "UPDATE (owner, paused_by, overridden_by)",
            "DELETE",
        ),
        "worker": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "queue_control": ("SELECT", "UPDATE (paused_by, reason)"),
        "schedule_firing": ("SELECT", "DELETE"),
        "submission_key": ("SELECT", "INSERT", "DELETE"),
        "cleanup_request": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "bulk_act": (
            "SELECT",
            "UPDATE (cursor, done, skipped, refused, refusals, not_before, ended_at, outcome)",
            "DELETE",
        ),
        "workflow": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "workflow_step": ("SELECT", "INSERT", "UPDATE"),
        "workflow_event": ("SELECT", "INSERT", "DELETE"),
        "workflow_key": ("SELECT", "INSERT", "DELETE"),
        "generation": ("SELECT",),
        "migration": ("SELECT",),
    },
    SCHEDULER: {
        "task": ("SELECT", "INSERT", "UPDATE"),
        "task_attempt": ("SELECT", "INSERT"),
        "task_failure": ("SELECT", "INSERT", "UPDATE (fingerprint, failed_at)", "DELETE"),
        "task_minute": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "task_hour": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "error_group": ("SELECT", "DELETE"),
        "error_hour": ("SELECT", "DELETE"),
        "worker": ("SELECT", "UPDATE (dead_at)"),
        "queue_control": ("SELECT",),
        "schedule": ("SELECT", "INSERT", "UPDATE"),
        "schedule_firing": ("SELECT", "INSERT", "UPDATE"),
        "cleanup_request": ("SELECT", "UPDATE"),
        "workflow": ("SELECT", "INSERT", "UPDATE"),
        "workflow_step": ("SELECT", "INSERT", "UPDATE"),
        "workflow_event": ("SELECT", "INSERT", "DELETE"),
        "workflow_key": ("SELECT", "INSERT", "DELETE"),
        "generation": ("SELECT", "UPDATE"),
        "leader_lease": ("SELECT", "INSERT", "UPDATE"),
        "migration": ("SELECT",),
    },
}
