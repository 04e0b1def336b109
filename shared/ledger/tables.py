"""Lists the tables of the ledger for Piccolo. The modules `*_tables.py` define them.

Constraints and indexes are defined in the migrations.
"""

from piccolo.table import Table

from shared.ledger.operator_tables import BulkAct, QueueControl
from shared.ledger.process_tables import CleanupRequest, Generation, LeaderLease, Worker
from shared.ledger.schedule_tables import Schedule, ScheduleFiring
from shared.ledger.statistics_tables import ErrorGroup, ErrorHour, TaskHour, TaskMinute
from shared.ledger.task_tables import SubmissionKey, Task, TaskAttempt, TaskFailure, TaskLog
from shared.ledger.workflow_tables import Workflow, WorkflowEvent, WorkflowKey, WorkflowStep

TABLES: tuple[type[Table], ...] = (
    Task,
    TaskAttempt,
    TaskLog,
    TaskFailure,
    TaskMinute,
    TaskHour,
    ErrorGroup,
    ErrorHour,
    Worker,
    QueueControl,
    Schedule,
    ScheduleFiring,
    Workflow,
    WorkflowStep,
    WorkflowEvent,
    WorkflowKey,
    SubmissionKey,
    Generation,
    LeaderLease,
    CleanupRequest,
    BulkAct,
)
