"""Write the files of a report, and never over a file that is not one of a report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from kdopt.errors import KdoptError
from kdopt.files import open_input, write_whole

PAGE_NAME = "report.html"
MARK = b" - kdopt report</title>"
"""What every page of kdopt has in its head."""

_HEAD_BYTES = 65_536


def write_files(out_dir: Path, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write files by name, in order; each replaces an older one in one step.

    Raises:
        KdoptError: If the folder or a file cannot be written, or has files of others, see
            :func:`check_report_folder`; nothing is written then.
    """
    made = {
        name: content.encode() if isinstance(content, str) else content
        for name, content in contents.items()
    }
    check_report_folder(out_dir, made)
    new = [out_dir / name for name in made if not (out_dir / name).exists()]
    try:
        return [_write_file(out_dir / name, content) for name, content in made.items()]
    except BaseException:
        # Without the page, which comes last, they would be taken for files of others.
        if out_dir / PAGE_NAME in new:
            for path in new:
                with suppress(OSError):
                    path.unlink()
        raise


def check_report_folder(out_dir: Path, names: Iterable[str] = ("spec.toml", PAGE_NAME)) -> None:
    """Refuse a folder that is no report and has files of a report's names.

    Args:
        out_dir: The folder, which need not be there.
        names: Of the files that would be written.

    Raises:
        KdoptError: There is such a file; its name is in the message.
    """
    if is_own_page(out_dir / PAGE_NAME):
        return
    taken = next((name for name in names if os.path.lexists(out_dir / name)), None)
    if taken is not None:
        raise KdoptError(
            f"{out_dir / taken}: is there already and belongs to no report of kdopt, which would "
            "replace it; name another folder with --out, or move the file"
        )


def is_own_page(path: Path, mark: bytes = MARK) -> bool:
    """Whether a file is a page that kdopt wrote."""
    try:
        with open_input(path) as file:
            return mark in file.read(_HEAD_BYTES)
    except OSError:
        return False


def _write_file(path: Path, content: bytes) -> Path:
    try:
        write_whole(path, content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise KdoptError(
            f"{path}: the report cannot be written ({reason}). "
            "Free some space, fix the permissions, or name another folder."
        ) from error
    return path
