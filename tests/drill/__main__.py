"""The command `make drill`, a test of failures: it breaks one part of the system after another
while tasks are running, checks that no task was lost or run twice, and prints a Markdown table.

`python -m tests.drill [fault …]` runs only the named faults. The exit code is 1 if a check has
failed. The fault `random` takes its seed and duration from the environment: `make drill
FAULTS=random SEED=7 DURATION_S=600`.
"""

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.drill import catalogue, report, scenario
from tests.drill.disk import Skipped
from tests.drill.fault import Fault
from tests.drill.servers import Servers

RANDOM_S = "180"
SEEDS = 1_000_000


async def drill(chosen: Sequence[Fault]) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="often-drill-"))
    # The system account that runs PostgreSQL must be able to enter the folder, even if root runs
    # the drill.
    folder.chmod(0o755)
    servers = Servers(folder)
    try:
        await servers.start()
        print(f"The logs are in {folder}\n\n{report.HEAD}", flush=True)
        sound = True
        for fault in chosen:
            try:
                result = await scenario.play(fault, servers, folder)
            except Skipped as reason:
                print(f"| {fault.title} | skipped: {reason} |", flush=True)
                continue
            print(result.row(), flush=True)
            sound &= not result.broken
        return sound
    finally:
        servers.stop()


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(SEEDS))
    known = catalogue.faults(seed=seed, seconds=float(os.environ.get("DURATION_S") or RANDOM_S))
    unknown = [name for name in sys.argv[1:] if name not in known]
    if unknown:
        print(f"make drill: unknown fault {unknown[0]}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in sys.argv[1:]] or [
        f for f in known.values() if f.name not in catalogue.EXTRAS
    ]
    return 0 if asyncio.run(drill(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
