"""The scan of all destinations that are tracked. The scan of one is in hotels.py."""

from datetime import datetime
from uuid import UUID

from shared.contracts.contract import Contract, Params, Result
from shared.contracts.outcome import StepOutcome
from shared.contracts.schedule import Schedule
from shared.hotel.contracts.hotels import RETRIES, Id


class ScanDestinations(Params):
    pass


class DestinationsScanned(Result):
    success: bool
    task_type: str
    destinations_found: int
    #: Tasks that scan one destination each.
    destinations_submitted: int
    #: The workflow of these tasks, which ends with a summary; null where nothing is tracked.
    workflow_id: UUID | None
    completed_at: datetime


class SummarizeScan(Params):
    destination_ids: list[Id]
    #: One for each destination.
    scans: list[StepOutcome]


class DestinationFailed(Result):
    destination_id: int
    error: str


class ScanSummarized(Result):
    #: True when all destinations were scanned.
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

#: The last step of a scan.
SUMMARIZE_SCAN = Contract(
    name="hotels.summarize_scan",
    queue="hotel_tracking",
    params=SummarizeScan,
    result=ScanSummarized,
    internal=True,
)
