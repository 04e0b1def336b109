"""A small file system for a database whose disk is to be full."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: A migrated database takes 20 MB of it and the load 10 more.
DISK_MB = 256


class Skipped(Exception):
    """This machine cannot run the fault; the message says why."""


class SmallDisk:
    """A file system in memory, small enough to be filled up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_mounted = False

    def mount(self) -> None:
        """Raises Skipped where this account may not mount."""
        self.folder.mkdir(exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.folder)]
        try:
            subprocess.run(["mount", *options], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip().partition("\n")[0]
            raise Skipped(f"a small file system cannot be mounted: {reason}") from error
        self.is_mounted = True

    def unmount(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
            self.is_mounted = False

    @contextmanager
    def filled(self) -> Iterator[Callable[[], None]]:
        """A file takes the free space. Yields a function that takes what was freed since."""
        ballast = self.folder / "ballast"

        def fill() -> None:
            with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4_096))

        try:
            fill()
            yield fill
        finally:
            ballast.unlink()
