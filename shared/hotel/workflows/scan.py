"""Defines the workflow of a price scan: one task per destination in parallel, then one summary."""

from collections.abc import Sequence
from datetime import timedelta

from shared.hotel.contracts.hotels import SCAN_DESTINATION, ScanDestination
from shared.hotel.contracts.scans import SUMMARIZE_SCAN, SummarizeScan
from shared.workflows.shapes import chord
from shared.workflows.workflow import Workflow

#: Deadline of the scan workflow. With the rate limits of the providers, a scan of many destinations
#: takes hours.
DEADLINE = timedelta(days=2)


def scan(destinations: Sequence[int]) -> Workflow:
    """Build the workflow that scans the prices of these destinations.

    If one of them fails, the summary names it and the workflow still succeeds.
    """
    flow = Workflow("scan", deadline=DEADLINE)
    members = [ScanDestination(destination_id=each) for each in destinations]
    scans = flow.group(SCAN_DESTINATION, members, at_least=1 if members else None, name="scan")
    summary = SummarizeScan(destination_ids=list(destinations), scans=scans.outcomes)
    chord(scans, flow.step(SUMMARIZE_SCAN, summary, name="summary"))
    return flow
