"""The command `make incidents`, a test of the alerts: it causes one incident after another, and
prints which alerts an operator receives.

`python -m tests.incidents [incident …]` causes only the named incidents. Prometheus and
Alertmanager run with the intervals of production, so all incidents together take three hours. The
exit code is 1 if the alerts of an incident were not as expected.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.drill.disk import Skipped
from tests.drill.servers import Servers
from tests.incidents import system, watch
from tests.incidents.causes import INCIDENTS
from tests.incidents.incident import Incident


async def replay(chosen: Sequence[Incident]) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="often-incidents-"))
    folder.chmod(0o755)  # the account that runs PostgreSQL must be able to enter this folder
    servers = Servers(folder)
    try:
        await servers.start()
        print(f"The logs are in {folder}\n\n{watch.HEAD}", flush=True)
        right = True
        for incident in chosen:
            # Each incident runs in a new system, so that alerts cannot be caused by the data of an
            # earlier incident.
            small = incident.small_disk
            try:
                async with system.running(servers, folder, incident.name, small_disk=small) as running:
                    heard = await watch.play(incident, running)
            except Skipped as skipped:
                print(f"| {incident.title} | skipped: {skipped} |", flush=True)
                continue
            print(heard.row(), flush=True)
            right &= not heard.broken
        return right
    finally:
        servers.stop()


def main() -> int:
    unknown = [name for name in sys.argv[1:] if name not in INCIDENTS]
    if unknown:
        print(
            f"make incidents: unknown incident {unknown[0]}; known: {', '.join(INCIDENTS)}", file=sys.stderr
        )
        return 2
    chosen = [INCIDENTS[name] for name in sys.argv[1:]] or list(INCIDENTS.values())
    return 0 if asyncio.run(replay(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
