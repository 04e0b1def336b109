"""`make loopback`: builds the images, and tests docker-compose.yml on a Docker engine that cannot
create networks.

All containers use the loopback and are removed at the end. compose.yml beside this file lists the
differences from production.
"""

import sys
import time
from collections.abc import Callable

from deploy.loopback import images, stand, trials
from deploy.loopback.stand import Failed

STEPS: dict[str, Callable[[], str]] = {
    "compose files are valid": images.validate,
    "images are built": images.build,
    "each image holds one service": images.look_inside,
    "all is up and healthy": trials.start,
    "health checks": trials.ask_own_health_checks,
    "a mail task succeeds": trials.send_one_mail,
    f"worker-email scaled to {trials.REPLICAS}": trials.scale,
    "Prometheus finds every replica": trials.scrape,
    "docker kill of a worker": trials.kill,
    "a worker crashes": trials.crash,
    "an orderly stop": trials.stop,
}


def main() -> int:
    begun = time.monotonic()
    stand.make_secrets()
    try:
        stand.take_down()  # removes containers that an earlier, killed run has left behind
    except Failed as failure:
        sys.stderr.write(
            f"A Docker engine and compose are needed; COMPOSE names another command.\n{failure}\n"
        )
        return 2
    try:
        for name, step in STEPS.items():
            sys.stdout.write(f"{name}: {step()}\n")
            sys.stdout.flush()
    except Failed as failure:
        sys.stderr.write(f"failed: {failure}\n{stand.state()}")
        return 1
    finally:
        stand.take_down()
    sys.stdout.write(f"All of it in {time.monotonic() - begun:.0f} s.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
