"""Contracts of the tasks that scan the prices of all tracked destinations.

The contract of the scan of one destination is in hotels.py.
"""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from shared.contracts.contract import Contract, Params, Result
from shared.contracts.outcome import StepOutcome
from shared.contracts.schedule import Schedule
from shared.hotel.contracts.hotels import RETRIES, SCAN, Id


class ScanDestinations(Params):
    pass


class DestinationsScanned(Result):
    success: bool
    task_type: str
    destinations_found: int
    #: Number of submitted tasks. Each one scans one destination.
    destinations_submitted: int
    #: Id of the workflow that scans the destinations and ends with a summary; null if no
    #: destination is tracked.
    workflow_id: UUID | None
    completed_at: datetime


class SummarizeScan(Params):
    destination_ids: list[Id]
    #: The outcomes of the tasks that scanned the destinations.
    scans: list[StepOutcome]


class DestinationFailed(Result):
    destination_id: int
    error: str


class ScanSummarized(Result):
    #: True if all destinations were scanned without an error.
    success: bool
    task_type: str
    destinations_found: int
    destinations_processed: int
    hotels_discovered: int
    price_records_created: int
    price_drops: int
    alerts_raised: int
    errors: list[DestinationFailed]
    completed_at: datetime


SCAN_DESTINATIONS = Contract(
    name="hotels.scan_destinations",
    queue="hotel_tracking",
    objective=replace(SCAN, expected_per_day=1),
    params=ScanDestinations,
    result=DestinationsScanned,
    retries=RETRIES,
    staff_only=True,
    schedules=(
        Schedule(
            name="hotels.scan_destinations.daily",
            kind="cron",
            expression="0 16 * * *",
            params=ScanDestinations(),
            overlap="skip",
        ),
    ),
)

#: Summarizes a scan of all destinations, as the last step of its workflow.
SUMMARIZE_SCAN = Contract(
    name="hotels.summarize_scan",
    queue="hotel_tracking",
    objective=replace(SCAN, expected_per_day=1),
    params=SummarizeScan,
    result=ScanSummarized,
    internal=True,
)
