"""Files of arrays: what is read, how it is split, and what each mistake is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy

from kdopt.campaign.compatibility import fingerprint
from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.record import CampaignRecord, format_campaign
from kdopt.campaign.shapes import TokenShape
from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import Dataset, load_planned_dataset, read_dataset
from kdopt.errors import DataError, SpecError

N = 40
LABELS = np.arange(N) % 4
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 5, 6)).astype(np.uint8)
VECTORS = RNG.normal(3, 2, (N, 7))
TOKENS = RNG.integers(0, 30, (N, 6))


def save(path: Path, **arrays: Any) -> DataSettings:
    """Write arrays in the format of the file's name."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    else:
        columns = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return DataSettings("arrays", root=str(path))


def read(settings: DataSettings, **changes: Any) -> Dataset:
    return read_dataset(DataSettings(**{**vars(settings), **changes}), 0)


def together(data: Dataset) -> np.ndarray:
    """All inputs, whatever their split, in a canonical order."""
    rows = np.concatenate([data.train_images, data.test_images])
    return rows[np.lexsort(rows.reshape(len(rows), -1).T)]


def in_order(array: np.ndarray) -> np.ndarray:
    return array[np.lexsort(array.reshape(len(array), -1).T)]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_vectors_are_read_split_and_standardised(tmp_path: Path, suffix: str) -> None:
    data = read(save(tmp_path / f"a{suffix}", vectors=VECTORS, labels=LABELS))
    assert data.shape == (7,) and data.train_images.dtype == np.float32
    assert (len(data.train_labels), len(data.test_labels)) == (30, 10)
    assert np.array_equal(together(data), in_order(VECTORS.astype(np.float32)))
    assert np.allclose(data.mean, data.train_images.mean(axis=0), atol=1e-6)
    assert np.allclose(data.std, data.train_images.std(axis=0), atol=1e-6)
    assert data.class_names == ("class 0", "class 1", "class 2", "class 3")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_token_ids_say_their_vocabulary_and_are_not_normalised(tmp_path: Path, suffix: str) -> None:
    settings = save(tmp_path / f"a{suffix}", tokens=TOKENS, labels=LABELS)
    data = read(settings, padding=0)
    assert data.shape == TokenShape(6, 30, 0) and data.mean == () and data.std == ()
    assert np.array_equal(together(data), in_order(TOKENS))
    assert read(settings, padding=0, vocabulary=99).shape == TokenShape(6, 99, 0)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES[:, None],
        IMAGES[..., None],
        np.repeat(IMAGES[:, None], 3, axis=1),
        np.repeat(IMAGES[..., None], 3, axis=3),
    ],
    ids=["NHW", "NCHW", "NHWC", "NCHW colour", "NHWC colour"],
)
def test_images_are_taken_with_channels_first_or_last(tmp_path: Path, images: np.ndarray) -> None:
    data = read(save(tmp_path / "a.npz", images=images, labels=LABELS))
    assert data.shape in ((1, 5, 6), (3, 5, 6))
    grey = together(data)[:, 0]
    assert np.array_equal(in_order(grey), in_order(IMAGES))
    assert data.train_images.flags.writeable  # torch warns of others


def test_images_of_floats_are_those_of_bytes_once_their_range_is_said(tmp_path: Path) -> None:
    plain = read(save(tmp_path / "a.npz", images=IMAGES, labels=LABELS))
    floats = save(tmp_path / "b.npz", images=IMAGES / 255 * 2 - 1, labels=LABELS)
    assert read(floats, value_range=(-1.0, 1.0)).sha256() == plain.sha256()


@pytest.mark.parametrize(
    ("first", "second", "third"),
    [
        ("train_{}", "validation_{}", "test_{}"),
        ("train_{}", "val_{}", "test_{}"),
        ("{}_train", "{}_valid", "{}_test"),
    ],
)
def test_given_splits_stay_as_they_are(tmp_path: Path, first: str, second: str, third: str) -> None:
    parts = {first: slice(0, 20), second: slice(20, 28), third: slice(28, 40)}
    arrays = {
        name.format(what): array[part]
        for name, part in parts.items()
        for what, array in (("x", VECTORS), ("y", LABELS[:, None]))  # as MedMNIST has labels
    }
    data = read(save(tmp_path / "a.npz", **arrays))
    assert np.array_equal(data.train_images, VECTORS[:28].astype(np.float32))
    assert data.given.validation == (20, 28)
    assert np.array_equal(data.test_labels, LABELS[28:])
    assert np.allclose(data.mean, VECTORS[:20].mean(axis=0))


def test_a_column_and_a_file_for_each_split_say_the_same(tmp_path: Path) -> None:
    names = np.array(["train"] * 20 + ["val"] * 8 + ["test"] * 12)
    column = save(tmp_path / "a.npz", vectors=VECTORS, labels=LABELS, split=names)
    for name in ("train", "val", "test"):
        rows = names == name
        save(tmp_path / f"{name}.parquet", vectors=VECTORS[rows], labels=LABELS[rows])
    folder = DataSettings("arrays", root=str(tmp_path))
    assert read(folder).sha256() == read(column).sha256()
    assert read(folder).given == read(column).given


def test_names_of_classes_are_those_of_the_file_or_the_campaign(tmp_path: Path) -> None:
    words = np.array(["d", "c", "b", "a"])
    texts = save(tmp_path / "a.npz", x=VECTORS, y=words[LABELS])
    assert read(texts).class_names == ("a", "b", "c", "d")
    assert read(texts, classes=("d", "c", "b", "a")).class_names == ("d", "c", "b", "a")
    said = save(tmp_path / "b.npz", x=VECTORS, y=LABELS, class_names=words)
    assert read(said).class_names == tuple(words)


def test_a_table_of_numbers_is_one_vector_per_row(tmp_path: Path) -> None:
    columns = {f"f{i}": VECTORS[:, i] for i in range(7)}
    data = read(save(tmp_path / "a.parquet", **columns, label=LABELS))
    assert np.array_equal(together(data), in_order(VECTORS.astype(np.float32)))
    named = read(save(tmp_path / "b.parquet", f=VECTORS, what=LABELS), columns=("f", "what"))
    assert named.sha256() == data.sha256()


def test_short_sequences_of_a_table_are_filled_up(tmp_path: Path) -> None:
    rows = [list(range(1, 2 + i % 3)) for i in range(N)]
    settings = save(tmp_path / "a.parquet", tokens=rows, label=LABELS)
    data = read(settings, padding=9)
    assert data.shape == TokenShape(3, 10, 9)
    assert {tuple(row) for row in together(data)} == {(1, 9, 9), (1, 2, 9), (1, 2, 3)}


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"normalization": "none"}, (0.0,) * 7, (1.0,) * 7),
        ({"mean": (2.0,), "std": (4.0,)}, (2.0,) * 7, (4.0,) * 7),
        ({"mean": (1.0,) * 7, "std": (3.0,) * 7}, (1.0,) * 7, (3.0,) * 7),
    ],
)
def test_normalisation_is_as_the_campaign_says(
    tmp_path: Path, settings: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    data = read(save(tmp_path / "a.npz", x=VECTORS, y=LABELS), **settings)
    assert (data.mean, data.std) == (mean, std)


BROKEN = VECTORS.copy()
BROKEN[3, 2] = np.nan
OBJECTS = np.array([[1], [1, 2]] * 20, object)
X = {"x": VECTORS}
Y = {"y": LABELS}


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        (X, {}, r"x: it has no labels; add"),
        (Y, {}, r"no array of inputs among y; call it one of images"),
        ({"x": BROKEN, **Y}, {}, r"value nan in row 3 \(1 such value\); fill them in"),
        ({"x": VECTORS * 1e300, **Y}, {}, r"beyond 3e38"),
        ({"x": VECTORS.astype("U9"), **Y}, {}, r"they are <U9; give numbers"),
        ({"vectors": VECTORS[0], **Y}, {}, r"vectors of shape \(7,\); give"),
        ({"x": OBJECTS, **Y}, {}, "holds Python objects, which are pickled, and was not read"),
        ({"x": VECTORS[:0], "y": LABELS[:0]}, {}, "it is empty; give at least one row"),
        ({**X, "y": LABELS[:-1]}, {}, "40 rows and 39 labels; give one label per row"),
        ({**X, "y": LABELS / 2}, {}, "labels are float64 .*; give one whole number or text"),
        ({**X, "y": np.eye(4)[LABELS]}, {}, r"shape \(40, 4\); give .* argmax"),
        ({**X, "y": LABELS - 1}, {}, r"label -1 of row 0 is outside 0\.\.2"),
        ({**X, "y": LABELS * 2}, {}, r"class 1 \('class 1'\) of 7 has no training example"),
        ({**X, "y": LABELS * 0}, {}, "its labels are of 1 class; at least 2"),
        ({**X, **Y}, {"classes": ("a", "b")}, r"label 2 of row 2 is outside 0\.\.1"),
        ({"images": IMAGES / 255, **Y}, {}, "images of float64; say what is black and white"),
        ({"images": IMAGES / 9, **Y}, {"value_range": (0.0, 1.0)}, "run from 0 to 28.*; change"),
        ({"images": IMAGES.astype(int), **Y}, {}, "images of int64; give uint8"),
        ({"images": IMAGES.reshape(N, -1), **Y}, {}, r"images of shape \(40, 30\); give"),
        ({"images": np.zeros((N, 2, 5, 2), np.uint8), **Y}, {}, "neither 1 nor 3 channels"),
        ({"images": np.zeros((N, 3, 5, 3), np.uint8), **Y}, {}, "channels first or last"),
        ({"tokens": TOKENS, **Y}, {}, "token ids without data.padding; set it"),
        ({"tokens": TOKENS - 1, **Y}, {"padding": 0}, r"token id -1 in row \d+ is outside"),
        ({"tokens": TOKENS, **Y}, {"padding": 0, "vocabulary": 20}, r"is outside 0\.\.19"),
        ({"tokens": TOKENS, **Y}, {"padding": 40, "vocabulary": 31}, r"padding = 40 is outside"),
        ({"tokens": TOKENS / 2, **Y}, {"padding": 0}, "token ids are float64"),
        ({**X, **Y}, {"augment": ("crop_flip",)}, "data.augment = crop_flip: it is for images"),
        ({"vectors": VECTORS, **Y}, {"padding": 0}, "data.padding = 0: it is for tokens, and"),
        ({**X, **Y}, {"image_size": 64}, "data.image_size = 64: it is for images"),
        ({**X, **Y}, {"mean": (1.0, 2.0), "std": (1.0, 2.0)}, "has 2 values, and the data 7"),
        ({**X, **Y, "images": IMAGES}, {}, "'x' and 'images' are both inputs; name"),
        ({**X, "train_x": VECTORS, **Y}, {}, "'x' has no split in its name, and others have"),
        ({"test_x": VECTORS, "test_y": LABELS}, {}, "it has test and no training split"),
        ({**X, **Y, "split": np.array(["a"] * N)}, {}, "'split' says 'a'; rows are of train"),
        ({"x": VECTORS[:2], "y": np.arange(2)}, {}, "2 rows, 1 of the rarest class: too few"),
    ],
)
def test_each_mistake_is_one_message_with_its_fix(
    tmp_path: Path, arrays: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    settings = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message) as raised:
        read(settings, **changes)
    assert ";" in str(raised.value)  # what to do comes after it


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((VECTORS[:20], LABELS[:20]), "train has 20 of the 20 rows of test too"),
        ((VECTORS[20:, :5], LABELS[20:]), r"each is \(5,\), and those of training are \(7,\)"),
        ((VECTORS[20:], LABELS[20:] + 4), r"label 4 of row 0 is outside 0\.\.3"),
    ],
)
def test_splits_have_to_fit_together(tmp_path: Path, other: Any, message: str) -> None:
    arrays = {"train_x": VECTORS[:20], "train_y": LABELS[:20], "test_x": other[0]}
    with pytest.raises(DataError, match=message):
        read(save(tmp_path / "a.npz", **arrays, test_y=other[1]))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = save(tmp_path / "a.npz", x=np.zeros((N, 10_000)), y=LABELS)
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    monkeypatch.setattr("kdopt.data.array_files.MAX_ARRAY_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"it unpacks to .* bytes, and 1,000,000 are read"):
        read(settings)


def test_a_table_that_unpacks_to_too_much_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = save(tmp_path / "a.parquet", a=np.zeros(200_000), label=np.zeros(200_000, int))
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    monkeypatch.setattr("kdopt.data.tables.MAX_TABLE_BYTES", 1_000_000)
    with pytest.raises(DataError, match="more than 1,000,000 bytes unpacked, which is the most"):
        read(settings)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"text": ["a b"] * N, "label": LABELS}, {}, "column 'text' is text: turn it into token"),
        ({"vectors": [[1.0], [1.0, 2.0]] * 20, "label": LABELS}, {}, "row 0 has 1 value, others"),
        ({"vectors": [[1.0], None] * 20, "label": LABELS}, {}, "'vectors', row 1: it is empty"),
        ({"a": [1.0, None] * 20, "label": LABELS}, {}, "column 'a', row 1: it is empty"),
        ({"a": VECTORS[:, 0], "label": LABELS}, {"columns": ("b", "label")}, "says 'b', and its"),
        ({"image": [b"no image"] * N, "label": LABELS}, {}, "row 0: cannot be decoded"),
    ],
)
def test_mistakes_of_a_table_name_the_column_and_the_row(
    tmp_path: Path, columns: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(save(tmp_path / "a.parquet", **columns), **changes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"PK\x03\x04 nothing", "cannot be read"),
        ("a.parquet", b"PAR1 nothing", "cannot be read"),
        ("a.safetensors", b"\x00" * 20, "cannot be read"),
        ("a.csv", b"1,2,3", r"its name ends in '\.csv'; arrays are read from files that end in"),
    ],
)
def test_what_is_no_such_file_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(DataSettings("arrays", root=str(tmp_path / name)))
    with pytest.raises(DataError, match="no such file or folder; give"):
        read(DataSettings("arrays", root=str(tmp_path / "b.npz")))


def test_without_pyarrow_one_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = save(tmp_path / "a.parquet", x=VECTORS, y=LABELS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"not installed; pip install 'kdopt\[hf\]'"):
        read(settings)


def test_a_worker_finds_the_file_where_its_machine_has_data(own_folders: Path) -> None:
    save(own_folders / "a.npz", vectors=VECTORS, labels=LABELS)
    spec = parse_spec(
        'name = "moved"\nmodel = "mlp"\n[data]\nname = "arrays"\nroot = "/elsewhere/a.npz"'
    )
    (own_folders / "a.npz").rename(own_folders / "data" / "a.npz")
    there = read(DataSettings("arrays", root=str(own_folders / "data" / "a.npz")))
    record = CampaignRecord(spec.campaign, spec.settings, there.sha256(), {})
    assert load_planned_dataset(record).sha256() == there.sha256()
    save(own_folders / "data" / "a.npz", vectors=VECTORS + 1, labels=LABELS)
    with pytest.raises(DataError, match="not those that the campaign was planned with"):
        load_planned_dataset(record)


def test_normalisation_and_padding_are_part_of_what_a_campaign_means() -> None:
    text = 'name = "a"\nmodel = "mlp"\n[data]\nname = "arrays"\nroot = "{}"\n{}'
    plain = fingerprint(parse_spec(text.format("a.npz", "")).campaign)
    assert fingerprint(parse_spec(text.format("b.npz", "")).campaign) == plain
    for changed in (
        "normalization = 'none'",
        "mean = [1]\nstd = [2]",
        "padding = 3",
        "vocabulary = 9",
    ):
        now = fingerprint(parse_spec(text.format("a.npz", changed)).campaign)
        assert {key.partition(".")[0] for key in now if now[key] != plain[key]} == {"data"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            'name = "digits"\npadding = 0',
            r"data.padding = 0: it goes with arrays, hf:\.\.\.; leave",
        ),
        ('name = "folder"\ncolumns = ["a", "b"]', r"data.columns = .* goes with arrays"),
        ('name = "arrays"', "data.root: missing; set it to the file"),
        ('name = "arrays"\nroot = "a"\ndownload = true', "'arrays' is read from local files only"),
        ('name = "hf:a"\nroot = "b"', "the name says the folder already; leave it out"),
        (
            'name = "arrays"\nroot = "a"\nmean = [1]',
            "data.mean has 1 value, data.std 0; give both",
        ),
        (
            'name = "arrays"\nroot = "a"\nmean = [1]\nstd = [1]\nnormalization = "none"',
            "mean and std are given; leave one or the other out",
        ),
        ('name = "arrays"\nroot = "a"\nvalue_range = [1, 0]', "two numbers, the least and the"),
        ('name = "arrays"\nroot = "a"\ncolumns = ["a"]', "two names: the inputs' and the labels'"),
        ('name = "torchvision:ImageNet"', "data.name = 'torchvision:ImageNet': one of digits"),
    ],
)
def test_settings_of_other_data_are_refused_in_the_file(data: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec(f'name = "a"\nmodel = "mlp"\n[data]\n{data}')


@pytest.mark.parametrize("name", ["digits", "arrays", "hf:a", "torchvision:SVHN"])
def test_a_file_with_every_setting_means_the_same_campaign(name: str) -> None:
    root = 'root = "a.npz"' if name == "arrays" else ""
    spec = parse_spec(f'name = "a"\nmodel = "mlp"\n[data]\nname = "{name}"\n{root}')
    again = parse_spec(format_campaign(spec.campaign, spec.settings))
    assert again.campaign == spec.campaign


def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(tmp_path: Path) -> None:
    arrays = {"x": VECTORS, "y": LABELS}
    padded = (safetensors.numpy.save(arrays, {"note": "n" * n}) for n in range(400))
    content = next(content for content in padded if content[0] == 0x80)
    (tmp_path / "a.safetensors").write_bytes(content)
    data = read(DataSettings("arrays", root=str(tmp_path / "a.safetensors")))
    assert np.array_equal(together(data), in_order(VECTORS.astype(np.float32)))
