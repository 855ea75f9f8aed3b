"""Run kdopt as a user does, in this process: what it printed, and how it ended."""

from __future__ import annotations

import io
import sys
from typing import NamedTuple

import pytest

from kdopt.cli import main


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: Exit code.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    code: int
    out: str
    err: str


def kdopt(*arguments: object, encoding: str = "utf-8") -> Ended:
    """Run one command; an exception that comes out of it fails the test."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kdopt", *map(str, arguments)])
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as end:
            main()
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]
    return Ended(int(end.value.code or 0), *texts)


def refused(*arguments: object) -> str:
    """The message of a command that must refuse: exit code 2, one page, no traceback."""
    ended = kdopt(*arguments)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err and len(ended.err) < 2000, ended.err
    assert ended.out == "", ended.out
    return ended.err
