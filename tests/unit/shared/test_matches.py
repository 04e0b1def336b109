"""Tests of which tasks a bulk operation finds."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.bulk.act import Action, Kind
from shared.bulk.matches import Matches
from shared.ledger.ids import ids_between
from shared.ledger.task_filter import TaskFilter
from shared.ledger.workflow_filter import WorkflowFilter

AFTER = datetime(2026, 11, 1, tzinfo=UTC)
BEFORE = AFTER + timedelta(days=1)


@pytest.mark.parametrize("kind", Kind)
def test_the_times_of_a_filter_bound_the_ids_that_an_act_walks_over(kind: Kind) -> None:
    wanted = WorkflowFilter if kind is Kind.WORKFLOW else TaskFilter
    for after, before in ((AFTER, BEFORE), (None, BEFORE), (AFTER, None), (None, None)):
        given = wanted(created_after=after, created_before=before)
        matches = Matches(kind=kind, action=Action.CANCEL, filter=given, owner=None)
        assert matches.id_bounds == ids_between(after, before)
