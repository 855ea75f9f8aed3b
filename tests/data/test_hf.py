"""Hugging Face data sets on disk, in the layouts that ``datasets`` writes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from PIL import Image

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.shapes import TokenShape
from kdopt.data.datasets import Dataset, read_dataset
from kdopt.errors import DataError

TOKENS = [[1 + i, 2, 3][: 1 + i % 3] for i in range(30)]
LABELS = [i % 2 for i in range(30)]
NOTE = {"info": {"features": {"label": {"names": ["calm", "angry"], "_type": "ClassLabel"}}}}


def make_table(start: int = 0, end: int = 30, **columns: Any) -> pyarrow.Table:
    chosen = columns or {"input_ids": TOKENS[start:end], "label": LABELS[start:end]}
    return pyarrow.table(chosen).replace_schema_metadata({"huggingface": json.dumps(NOTE)})


def save_to_disk(folder: Path, tables: list[pyarrow.Table]) -> None:
    """As ``Dataset.save_to_disk`` writes a split in several shards."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(tables):05d}.arrow" for i in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pyarrow.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))


def save_parquet(file: Path, table: pyarrow.Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, file)


def read(place: Path | str, **changes: Any) -> Dataset:
    return read_dataset(DataSettings(f"hf:{place}", **{"padding": 0, **changes}), 0)


def fill(folder: Path, layout: str) -> None:
    """The same two splits in each layout."""
    train, test = make_table(0, 20), make_table(20, 30)
    if layout == "save_to_disk":
        save_to_disk(folder / "train", [make_table(0, 11), make_table(11, 20)])
        save_to_disk(folder / "test", [test])
        (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    elif layout == "shards":
        save_parquet(folder / "train-00000-of-00002.parquet", make_table(0, 11))
        save_parquet(folder / "train-00001-of-00002.parquet", make_table(11, 20))
        save_parquet(folder / "test-00000-of-00001.parquet", test)
    else:
        save_parquet(folder / "train" / "0000.parquet", train)
        save_parquet(folder / "test" / "0000.parquet", test)


@pytest.mark.parametrize("layout", ["save_to_disk", "shards", "folders"])
def test_every_layout_gives_the_same_splits_and_names(tmp_path: Path, layout: str) -> None:
    fill(tmp_path / "set", layout)
    data = read(tmp_path / "set")
    assert data.shape == TokenShape(3, 31, 0) and data.class_names == ("calm", "angry")
    assert data.train_images[:3].tolist() == [[1, 0, 0], [2, 2, 0], [3, 2, 3]]
    assert data.train_labels.tolist() == LABELS[:20]
    assert data.test_labels.tolist() == LABELS[20:]


def test_one_saved_split_is_split_by_kdopt(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "set", [make_table()])
    data = read(tmp_path / "set", test_fraction=0.2)
    assert (len(data.train_labels), len(data.test_labels)) == (24, 6)


@pytest.mark.parametrize("bytes_only", [True, False])
def test_images_are_decoded_and_resized(tmp_path: Path, bytes_only: bool) -> None:
    files = []
    for number in range(30):
        stream = io.BytesIO()
        Image.fromarray(np.full((9, 9), 8 * number, np.uint8)).save(stream, "PNG")
        files.append(stream.getvalue())
    rows = files if bytes_only else [{"bytes": file, "path": None} for file in files]
    save_to_disk(tmp_path / "set", [make_table(image=rows, label=LABELS)])
    data = read(tmp_path / "set", padding=None, image_size=6)
    assert data.shape == (1, 6, 6)
    seen = np.concatenate([data.train_images, data.test_images])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == [8 * number for number in range(30)]


@pytest.mark.parametrize(
    "place", ["datasets/me___moods/default/0.0.0/abc", "hub/datasets--me--moods/snapshots/abc/data"]
)
def test_a_name_is_looked_up_in_the_local_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    save_parquet(tmp_path / place / "train-00000-of-00001.parquet", make_table(0, 20))
    save_parquet(tmp_path / place / "test-00000-of-00001.parquet", make_table(20, 30))
    data = read("me/moods")
    assert len(data.test_labels) == 10
    save_parquet(tmp_path / place / ".." / "def" / "train-0.parquet", make_table())
    with pytest.raises(DataError, match=r"2 folders in the cache have such files .*name one"):
        read("me/moods")


def outside(folder: Path) -> None:
    save_to_disk(folder, [make_table()])
    state = {"_data_files": [{"filename": "../../../secret.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))


def selected(folder: Path) -> None:
    save_to_disk(folder, [make_table()])
    state = {"_data_files": [], "_indices_data_files": [{"filename": "indices.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))


def unknown(folder: Path) -> None:
    folder.mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["unsupervised"]}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, "there is no folder .* kdopt fetches none"),
        (lambda folder: folder.mkdir(), "no data set in it: .* save_to_disk"),
        (outside, r"set/secret\.arrow is missing; copy the whole folder again"),
        (selected, r"selection of rows beside it; call flatten_indices\(\)"),
        (unknown, "split 'unsupervised'; kdopt knows train"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, message: str
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    spoil(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "set")


def test_a_path_beside_the_image_is_not_followed(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": "/etc/hostname"}] * 30
    save_to_disk(tmp_path / "set", [make_table(image=rows, label=LABELS)])
    with pytest.raises(DataError, match="row 0: the image is a path to a file elsewhere; save"):
        read(tmp_path / "set", padding=None)
