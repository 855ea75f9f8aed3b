"""Write the files of a report, and never over a file that is not one of a report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kdopt.errors import KdoptError
from kdopt.files import find_folder_fault, name_temporary, open_input

PAGE_NAME = "report.html"
MARK = b" - kdopt report</title>"
"""What every page of kdopt has in its head."""

_HEAD_BYTES = 65_536

Content = str | bytes | Iterable[str]
"""What a file holds; one too large for memory is given in parts, which are asked for once."""


def write_files(out_dir: Path, contents: Mapping[str, Content]) -> list[Path]:
    """Write files by name; each replaces an older one in one step, in order, when all are written.

    Raises:
        KdoptError: If the folder or a file cannot be written, or has files of others, see
            :func:`check_report_folder`; nothing is written then.
    """
    check_report_folder(out_dir, contents)
    new = [out_dir / name for name in contents if not (out_dir / name).exists()]
    temporaries: dict[Path, Path] = {}
    try:
        for name, content in contents.items():
            path = out_dir / name
            with _explain_failure(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporaries[path] = name_temporary(path)
                _write_content(temporaries[path], content)
        for path, temporary in temporaries.items():
            with _explain_failure(path):
                # Renaming replaces the old file in one step; a crash leaves either file, whole.
                temporary.replace(path)
    except BaseException:
        # Without the page, which comes last, they would be taken for files of others.
        if out_dir / PAGE_NAME in new:
            _remove_files(new)
        raise
    finally:
        _remove_files(temporaries.values())
    return list(temporaries)


def check_report_folder(out_dir: Path, names: Iterable[str] = ("spec.toml", PAGE_NAME)) -> None:
    """Refuse a folder that cannot be one, or is no report and has files of a report's names.

    Args:
        out_dir: The folder, which need not be there.
        names: Of the files that would be written.

    Raises:
        KdoptError: There is such a file, or no such folder can be made; the name of what is in
            the way is in the message.
    """
    if fault := find_folder_fault(out_dir):
        raise KdoptError(f"{fault}, and a report is a folder of files; name another with --out")
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


def _write_content(path: Path, content: Content) -> None:
    with path.open("xb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            for part in [content] if isinstance(content, str) else content:
                file.write(part.encode())


def _remove_files(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _explain_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise KdoptError(
            f"{path}: the report cannot be written ({reason}). "
            "Free some space, fix the permissions, or name another folder."
        ) from error
