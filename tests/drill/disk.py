"""Mounts a small file system, in which the drill places a database whose disk shall fill up."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Size of the small file system in MB. A migrated database needs 20 MB of it, and the load 10 MB
#: more.
DISK_MB = 256


class Skipped(Exception):
    """Raised if a fault cannot be run on this machine. The message says why."""


class SmallDisk:
    """A file system in memory that is small, so that the drill can fill it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_mounted = False

    def mount(self) -> None:
        """Mount the file system. Raises Skipped if the current system account may not mount file
        systems.
        """
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
        """Fill the free space with a file inside this context.

        Yields a function that fills the file system again, in case space has been freed meanwhile.
        """
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
