"""A choice of the drill: `make drill` breaks the rest."""

from pathlib import Path

import pytest

from tests.drill import scenario
from tests.drill.faults import FAULTS
from tests.drill.servers import Servers


@pytest.mark.parametrize("name", ["kill_api", "drop_replies"])
async def test_nothing_is_lost_done_twice_or_stuck_whatever_breaks(name: str, folder: Path) -> None:
    home = folder / name
    home.mkdir()
    servers = Servers(home)
    try:
        await servers.start()
        report = await scenario.play(FAULTS[name], servers, home)
    finally:
        servers.stop()

    assert report.broken == [], report.row()
