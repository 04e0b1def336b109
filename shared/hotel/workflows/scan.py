"""The scan of destinations: side by side, and then one summary."""

from collections.abc import Sequence
from datetime import timedelta

from shared.hotel.contracts.hotels import SCAN_DESTINATION, ScanDestination
from shared.hotel.contracts.scans import SUMMARIZE_SCAN, SummarizeScan
from shared.workflows.shapes import chord
from shared.workflows.workflow import Workflow

#: The providers' rates make a scan of many destinations last hours.
DEADLINE = timedelta(days=2)


def scan(destinations: Sequence[int]) -> Workflow:
    """Scan these destinations. One that fails is named in the summary, and does not fail the scan."""
    flow = Workflow("scan", deadline=DEADLINE)
    members = [ScanDestination(destination_id=each) for each in destinations]
    scans = flow.group(SCAN_DESTINATION, members, at_least=1 if members else None, name="scan")
    told = SummarizeScan(destination_ids=list(destinations), scans=scans.outcomes)
    chord(scans, flow.step(SUMMARIZE_SCAN, told, name="summary"))
    return flow
