"""`python -m tests.documented_worker FOLDER`: the real worker with the documented example beside its code."""

import sys
from pathlib import Path

import services.worker.tasks
import shared.contracts


def lay_beside(folder: Path) -> None:
    """Let both packages find the modules of `folder` as if they were their own."""
    shared.contracts.__path__.append(str(folder / "shared/contracts"))
    services.worker.tasks.__path__.append(str(folder / "services/worker/tasks"))


if __name__ == "__main__":
    lay_beside(Path(sys.argv[1]))
    from services.worker import registry
    from services.worker.__main__ import main

    sys.exit(main(registry.load()))
