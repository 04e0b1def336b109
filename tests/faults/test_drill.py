"""Runs a few faults of the drill as tests; `make drill` runs all of them."""

from pathlib import Path

import pytest

from tests.drill import catalogue, scenario
from tests.drill.fault import Fault
from tests.drill.faults.anything import in_turn
from tests.drill.faults.locks import table_lock
from tests.drill.faults.processes import kill_leader, kill_workers
from tests.drill.faults.redis import drop_replies
from tests.drill.faults.refusals import read_only
from tests.drill.faults.workflows import through
from tests.drill.servers import Servers

KNOWN = catalogue.faults(seed=0, seconds=0)
#: Combines two faults in which Postgres refuses statements. In separate scenarios, each would wait
#: for the 30 s task that blocks its worker's interpreter.
REFUSALS = in_turn(
    "refusals",
    table_lock("table_lock", seconds=16, times=1),
    read_only("read_only_cut", seconds=4, cut=True),
)
#: Combines faults in which several processes die, while 40 workflows run.
DEATHS = in_turn(
    "deaths", drop_replies, through("few_workflows", kill_workers, kill_leader, count=40, over_s=10)
)


@pytest.mark.parametrize("fault", [KNOWN["kill_api"], DEATHS, REFUSALS], ids=lambda f: f.name)
async def test_no_task_is_lost_repeated_or_stuck_under_this_fault(fault: Fault, folder: Path) -> None:
    home = folder / fault.name
    home.mkdir()
    servers = Servers(home)
    try:
        await servers.start()
        report = await scenario.play(fault, servers, home)
    finally:
        servers.stop()

    assert report.broken == [], report.row()
