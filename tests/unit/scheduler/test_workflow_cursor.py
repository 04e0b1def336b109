"""Tests of the cursor of the leader's sweep: it passes an event's id only when no event with a
lower id can appear any more.
"""

import random

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.workflow_cursor import FROM_START_EVERY_S, Cursor, Look


class Table:
    """A simulated table of events, and transactions that add events.

    As in Postgres, an event gets its id before its transaction commits.
    """

    def __init__(self) -> None:
        self.drawn = 0
        self.next_xid = 1
        #: Ids that each open transaction has taken, by the transaction's number.
        self.open: dict[int, list[int]] = {}
        self.visible: set[int] = set()

    def begin(self) -> None:
        self.open[self.next_xid] = []
        self.next_xid += 1

    def draw(self, xid: int) -> None:
        self.drawn += 1
        self.open[xid].append(self.drawn)

    def commit(self, xid: int) -> None:
        self.visible.update(self.open.pop(xid))

    def look(self, after: int, limit: int) -> Look:
        found = sorted(id for id in self.visible if id > after)[:limit]
        first, last = (found[0], found[-1]) if found else (None, None)
        return Look(first, last, min(self.open, default=self.next_xid), self.next_xid)


@given(chance=st.randoms(use_true_random=False), limit=st.sampled_from([1, 3, 100]))
def test_no_look_misses_an_event_whatever_commits_in_which_order(chance: random.Random, limit: int) -> None:
    table, cursor = Table(), Cursor()
    cursor.after(0.0)  # the first look reads from the beginning, and then none does so for a minute
    for _ in range(chance.randint(1, 80)):
        match chance.choice(["begin", "draw", "draw", "commit", "apply", "look", "look"]):
            case "begin":
                table.begin()
            case "draw" if table.open:
                table.draw(chance.choice(list(table.open)))
            case "commit" if table.open:
                table.commit(chance.choice(list(table.open)))
            case "apply" if table.visible:
                table.visible.discard(chance.choice(sorted(table.visible)))
            case "look":
                after = cursor.after(1.0)
                assert not [id for id in table.visible if id <= after]
                cursor.note(table.look(after, limit))


def test_the_cursor_follows_what_is_applied_and_waits_for_a_transaction_that_is_older() -> None:
    cursor = Cursor()
    cursor.after(0.0)
    cursor.note(Look(first=7, last=9, oldest_xid=50, next_xid=60))
    cursor.note(Look(first=None, last=None, oldest_xid=50, next_xid=70))
    assert cursor.after(1.0) == 0, "transaction 50 may have drawn id 8"
    cursor.note(Look(first=None, last=None, oldest_xid=60, next_xid=70))
    assert cursor.after(1.0) == 9


def test_a_look_begins_at_the_start_once_a_minute() -> None:
    cursor = Cursor()
    assert cursor.after(100.0) == 0
    for _ in range(2):
        cursor.note(Look(first=None, last=9, oldest_xid=60, next_xid=60))
    assert [cursor.after(100.0 + each) for each in (1.0, FROM_START_EVERY_S, FROM_START_EVERY_S + 1)] == [
        9,
        0,
        9,
    ]
