"""A command in a real terminal of a given size, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

STYLE = re.compile(r"\x1b\[[0-9;]*m")
HOME = "\x1b[H"
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # now Ctrl-C comes from this terminal
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def on_terminal(columns: int) -> Iterator[Callable[[], list[str]]]:
    """Within the block, this process itself writes to a terminal of so many columns.

    Gives a function for the lines that were written, without colours.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    said = bytearray()

    def listen() -> None:
        with suppress(OSError):  # the other end is closed
            while chunk := os.read(master, 65536):
                said.extend(chunk)

    ear = threading.Thread(target=listen, daemon=True)
    ear.start()
    kept = [os.dup(number) for number in (0, 1, 2)]
    streams = sys.stdin, sys.stdout, sys.stderr
    for number in (0, 1, 2):
        os.dup2(slave, number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(os.dup(slave), mode) for mode in "rww")
    opened = sys.stdin, sys.stdout, sys.stderr

    def lines() -> list[str]:
        ear.join(600)
        assert not ear.is_alive()
        return STYLE.sub("", said.decode(errors="replace")).splitlines()

    try:
        yield lines
    finally:
        for stream in opened:
            stream.close()
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, old in enumerate(kept):
            os.dup2(old, number)
            os.close(old)
        os.close(slave)
        ear.join(600)
        os.close(master)


class Terminal:
    """A child process whose terminal we are.

    Args:
        command: What runs in it.
        size: Rows and columns.
        folder: Where it runs.
    """

    def __init__(
        self, command: Sequence[str], size: tuple[int, int], folder: object = None
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(*size)
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=str(folder) if folder else None,
            env={**environment, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        self._said = bytearray()
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        self._size = rows, columns
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def said(self) -> str:
        """All that was written, with everything that moves the cursor."""
        return self._said.decode(errors="replace")

    def screen(self) -> list[str]:
        """The lines of the last whole picture, or all lines of a plain text, without colours.

        A picture comes in pieces on a busy machine: it is whole once all rows are there and the
        last one, which is padded with spaces, is as wide as the window.
        """
        rows, columns = self._size
        plain, *pictures = self.said().split(HOME)
        if not pictures:
            return STYLE.sub("", plain).split("\r\n")
        for drawn in reversed(pictures):
            lines = STYLE.sub("", drawn).split("\r\n")
            if len(lines) > rows or (len(lines) == rows and len(lines[-1]) >= columns):
                return lines
        return []

    def press_ctrl_c(self) -> None:
        """As a person would."""
        self.type("\x03")

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def wait_for(self, shown: Callable[[str], bool], timeout_s: float = 600.0) -> str:
        """Wait until the screen shows something."""
        end = time.monotonic() + timeout_s
        while not shown(text := "\n".join(self.screen())):
            assert time.monotonic() < end, f"it was never shown; last:\n{text}"
            time.sleep(0.02)
        return text

    def end(self, timeout_s: float = 600.0) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(timeout_s)
        self._ear.join(timeout_s)
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._ear.join(5)
        os.close(self._master)

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._master], [], [], 0.2)
            if not ready:
                if self.process.poll() is not None:
                    return
                continue
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            if not chunk:
                return
            self._said += chunk
