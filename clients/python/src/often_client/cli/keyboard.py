"""Reads single keys from the terminal, without Enter, while an event loop runs."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BACKSPACE, ENTER, ESCAPE = "\x7f", "\n", "\x1b"


@contextmanager
def keys() -> Iterator["asyncio.Queue[str]"]:
    """Yield a queue of pressed keys. The terminal is restored when the context ends.

    Keys that send a sequence, such as arrows, are ignored. Without a terminal for input, and on
    Windows, no key ever arrives.
    """
    pressed: asyncio.Queue[str] = asyncio.Queue()
    try:
        import termios  # noqa: PLC0415 - POSIX only
        import tty  # noqa: PLC0415
    except ModuleNotFoundError:
        yield pressed
        return
    if not sys.stdin.isatty():
        yield pressed
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read() -> None:
        received = os.read(terminal, 64).decode(errors="ignore").replace("\r", ENTER)
        if not received.startswith("\x1b["):
            for key in received:
                pressed.put_nowait(key)

    loop = asyncio.get_running_loop()
    tty.setcbreak(terminal)
    loop.add_reader(terminal, read)
    try:
        yield pressed
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
