"""Combines all API calls in one class, the base class of the sync and the async client."""

from often_client.calls.accounts import AccountCalls
from often_client.calls.audit import AuditCalls
from often_client.calls.bulk import BulkCalls
from often_client.calls.error_groups import ErrorCalls
from often_client.calls.operations import OperationCalls
from often_client.calls.schedules import ScheduleCalls
from often_client.calls.statistics import StatisticsCalls
from often_client.calls.submissions import SubmissionCalls
from often_client.calls.tasks import TaskCalls
from often_client.calls.workflows import WorkflowCalls


class ApiCalls(
    SubmissionCalls,
    TaskCalls,
    WorkflowCalls,
    BulkCalls,
    OperationCalls,
    ErrorCalls,
    ScheduleCalls,
    StatisticsCalls,
    AuditCalls,
    AccountCalls,
):
    """The API calls that a client can make."""
