"""A real, small file system that can be full, where mounting one is allowed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class Disk:
    """A mounted tmpfs.

    Args:
        path: Where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: int) -> None:
        """Let it hold so many bytes."""
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(self.path)], check=True)

    def leave(self, free: int) -> None:
        """Let it hold so many bytes more than it does."""
        state = os.statvfs(self.path)
        self.resize((state.f_blocks - state.f_bfree) * state.f_frsize + free)

    def fill(self) -> Path:
        """Fill it to the last byte; the file that does so."""
        filler = self.path / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * (1 << 16)):
                pass
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(b"x"):
                pass
        return filler


@contextmanager
def mounted(path: Path, size: int) -> Iterator[Disk]:
    """A file system of so many bytes; the test is skipped where this user may not mount one."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    try:
        end = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = end.stderr.strip() or f"exit code {end.returncode}" if end.returncode else ""
    except FileNotFoundError:
        reason = "there is no mount command"
    if reason:
        pytest.skip(f"a full disk was NOT TESTED: this user may not mount a tmpfs ({reason})")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
