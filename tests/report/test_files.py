from collections.abc import Iterator
from pathlib import Path

import pytest

from kdopt.errors import KdoptError
from kdopt.report.files import PAGE_NAME, Content, write_files


def list_parts(lines: int, then: Exception | None = None) -> Iterator[str]:
    yield from (f"line {number}\n" for number in range(lines))
    if then is not None:
        raise then


def write_old(folder: Path) -> dict[str, bytes]:
    write_files(folder, {"a.csv": "old", PAGE_NAME: "<title>x - kdopt report</title>"})
    return read_all(folder)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_in_parts_is_what_its_parts_are_together(tmp_path: Path) -> None:
    contents: dict[str, Content] = {"a.csv": list_parts(3), "b.bin": b"\xff", PAGE_NAME: "ü"}
    assert [path.name for path in write_files(tmp_path, contents)] == list(contents)
    wanted = {"a.csv": b"line 0\nline 1\nline 2\n", "b.bin": b"\xff", PAGE_NAME: "ü".encode()}
    assert read_all(tmp_path) == wanted


@pytest.mark.parametrize("fault", [ValueError("a bug"), OSError(28, "No space left on device")])
def test_no_old_file_is_replaced_before_all_new_ones_are_written(
    tmp_path: Path, fault: Exception
) -> None:
    before = write_old(tmp_path)
    contents: dict[str, Content] = {"a.csv": "new", "b.csv": list_parts(3, fault), PAGE_NAME: "p"}
    wanted = KdoptError if isinstance(fault, OSError) else ValueError
    with pytest.raises(wanted, match=r"b\.csv.*No space left|a bug"):
        write_files(tmp_path, contents)
    assert read_all(tmp_path) == before
