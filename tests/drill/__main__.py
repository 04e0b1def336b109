"""`make drill`: breaks one thing after the other under load, counts the ledger, prints a table of Markdown.

`python -m tests.drill [fault …]` runs only these. Ends with 1 when an invariant is broken.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.drill import scenario
from tests.drill.faults import FAULTS, Fault
from tests.drill.servers import Servers


async def drill(chosen: list[Fault]) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="often-drill-"))
    folder.chmod(0o755)  # PostgreSQL's own account must get through when root runs the drill
    servers = Servers(folder)
    try:
        await servers.start()
        print(f"Logs lie in {folder}\n\n{scenario.HEAD}", flush=True)
        sound = True
        for fault in chosen:
            report = await scenario.play(fault, servers, folder)
            print(report.row(), flush=True)
            sound &= not report.broken
        return sound
    finally:
        servers.stop()


def main() -> int:
    unknown = [name for name in sys.argv[1:] if name not in FAULTS]
    if unknown:
        print(f"make drill: {unknown[0]} is no fault; known: {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    chosen = [FAULTS[name] for name in sys.argv[1:]] or list(FAULTS.values())
    return 0 if asyncio.run(drill(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
