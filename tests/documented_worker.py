"""`python -m tests.documented_worker FOLDER`: the real worker with the documented example beside its code."""

import sys
from pathlib import Path

import services.worker.hotel.tasks
import shared.hotel.contracts


def lay_beside(folder: Path) -> None:
    """Let both packages find the modules of `folder` as if they were their own."""
    shared.hotel.contracts.__path__.append(str(folder / "shared/hotel/contracts"))
    services.worker.hotel.tasks.__path__.append(str(folder / "services/worker/hotel/tasks"))


if __name__ == "__main__":
    lay_beside(Path(sys.argv[1]))
    from services.worker.__main__ import main

    sys.exit(main())
