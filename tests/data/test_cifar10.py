from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import read_dataset
from kdopt.data.sources import cifar10
from kdopt.data.sources.cifar10 import read_pickled_batch
from kdopt.errors import DataError

BATCHES = tuple(cifar10.BATCH_MD5)


def own(root: Path, **changes: object) -> DataSettings:
    values: dict[str, object] = {"checksum": "none", "root": str(root)}
    return DataSettings("cifar10", **{**values, **changes})  # type: ignore[arg-type]


def make_batch(number: int, size: int = 10) -> dict[str, Any]:
    data = np.random.default_rng(number).integers(0, 256, (size, 3072)).astype(np.uint8)
    return {"data": data, "labels": [(i + number) % 10 for i in range(size)]}


def write_pickled(root: Path, protocol: int = 2) -> list[dict[str, Any]]:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = [make_batch(number) for number in range(6)]
    for name, batch in zip(BATCHES, batches, strict=True):
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    return batches


def write_binary(root: Path) -> list[dict[str, Any]]:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    batches = [make_batch(number) for number in range(6)]
    for name, batch in zip(BATCHES, batches, strict=True):
        labels = np.array(batch["labels"], np.uint8)[:, None]
        (folder / f"{name}.bin").write_bytes(np.hstack([labels, batch["data"]]).tobytes())
    return batches


def python2_pickle(data: bytes, n_images: int, labels: bytes) -> bytes:
    """A batch opcode by opcode as Python 2's cPickle wrote the published ones.

    Strings are Python 2 strings (opcodes U and T) and the flags of the dtype are numbers, which
    Python 3 no longer writes.
    """

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        b"(K\x01(K" + bytes([n_images]) + b"M\x00\x0ct" + dtype + b"\x89"
        b"T" + struct.pack("<I", len(data)) + data + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + b"u."


@pytest.mark.parametrize("write", [write_pickled, write_binary])
def test_batches_are_read_in_order(tmp_path: Path, write: Any) -> None:
    batches = write(tmp_path)
    data = read_dataset(own(tmp_path), 0)
    expected = np.concatenate([batch["data"] for batch in batches[:5]]).reshape(-1, 3, 32, 32)
    assert (data.train_images == expected).all()
    assert data.train_labels.tolist() == [
        label for batch in batches[:5] for label in batch["labels"]
    ]
    assert (data.test_images == batches[5]["data"].reshape(-1, 3, 32, 32)).all()
    assert data.test_labels.tolist() == batches[5]["labels"]
    assert data.class_names[0] == "airplane" and data.shape == (3, 32, 32)
    assert data.train_images.flags.writeable and data.test_images.flags.writeable


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    batches = write_pickled(tmp_path, protocol)
    data = read_dataset(own(tmp_path / "cifar-10-batches-py"), 0)
    assert (data.test_images.reshape(10, -1) == batches[5]["data"]).all()
    assert data.test_images.flags.writeable


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072)).astype(np.uint8)
    (tmp_path / "b").write_bytes(python2_pickle(pixels.tobytes(), 3, bytes([4, 0, 9])))
    batch = read_pickled_batch(tmp_path / "b")
    assert (batch["data"] == pixels).all() and batch["labels"] == [4, 0, 9]


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_malicious_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    write_pickled(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / BATCHES[2]
    path.write_bytes(pickle.dumps({**make_batch(2), "extra": Malicious(tmp_path / "harm")}))
    with pytest.raises(DataError, match=r"asks for posix\.mkdir; only byte arrays are allowed"):
        read_dataset(own(tmp_path), 0)
    assert not (tmp_path / "harm").exists()
    pickle.loads(path.read_bytes())  # the file is as harmful as it claims
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["builtins eval", "os system", "numpy load", "_codecs decode"])
def test_no_other_name_can_be_asked_for(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    (tmp_path / "b").write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(DataError, match=f"asks for {module}.{attribute}"):
        read_pickled_batch(tmp_path / "b")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"data": np.array([{}, {}], object)}, "array of type 'O8', only bytes"),
        ({"data": np.zeros((2, 3072), np.float32)}, "array of type 'f4', only bytes"),
        ([1, 2], "holds a list; a CIFAR batch is a dict"),
    ],
)
def test_pickles_of_other_things_are_refused(tmp_path: Path, value: object, message: str) -> None:
    (tmp_path / "b").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=message):
        read_pickled_batch(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": np.zeros((10, 3071), np.uint8)}, r"'data' is uint8 \(10, 3071\); expected"),
        ({"data": [1, 2]}, "'data' is <class 'list'>; expected uint8"),
        ({"labels": [0] * 9}, "10 images but 9 labels"),
        ({"labels": "0123456789"}, "'labels' is no list of whole numbers"),
        ({"labels": [0] * 9 + [10]}, r"label 10 of image 9 is outside 0\.\.9"),
        ({"labels": [-1] + [0] * 9}, r"label -1 of image 0 is outside 0\.\.9"),
    ],
)
def test_batches_of_another_shape_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_pickled(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({**make_batch(2), **change}))
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(own(tmp_path), 0)
    assert "data_batch_3" in str(caught.value)


def test_a_truncated_pickle_is_refused(tmp_path: Path) -> None:
    write_pickled(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="test_batch: cannot be read as a pickled CIFAR batch"):
        read_dataset(own(tmp_path), 0)


def test_the_published_md5_is_asked_for(tmp_path: Path) -> None:
    write_pickled(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1: md5 is .* CIFAR's is c99cafc152244af7"):
        read_dataset(own(tmp_path, checksum="published"), 0)


def test_the_published_md5s_are_those_of_torchvision() -> None:
    from torchvision.datasets import CIFAR10

    assert dict(CIFAR10.train_list + CIFAR10.test_list) == cifar10.BATCH_MD5


def test_a_file_with_the_published_md5_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    batches = write_pickled(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in BATCHES}
    monkeypatch.setattr(cifar10, "BATCH_MD5", sums)
    data = read_dataset(own(tmp_path, checksum="published"), 0)
    assert data.test_labels.tolist() == batches[5]["labels"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 3072, "3,072 bytes, no whole number of records of 3,073 bytes"),
        (b"", "0 bytes, no whole number of records"),
        (b"\x0a" + b"x" * 3072, r"label 10 of image 0 is outside 0\.\.9"),
    ],
)
def test_damaged_binary_batches_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_binary(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_4\.bin: {message}"):
        read_dataset(own(tmp_path), 0)


def test_published_binary_batches_have_ten_thousand_images(tmp_path: Path) -> None:
    write_binary(tmp_path)
    with pytest.raises(DataError, match=r"10 images, a published batch has 10,000; .*'none'"):
        read_dataset(own(tmp_path, checksum="published"), 0)


@pytest.mark.parametrize("names", [10, 9])
def test_class_names_come_from_the_meta_file(tmp_path: Path, names: int) -> None:
    write_binary(tmp_path / "binary")
    write_pickled(tmp_path / "pickled")
    listed = [f"class {i}" for i in range(names)]
    text = "\n".join(listed) + "\n\n"
    (tmp_path / "binary/cifar-10-batches-bin/batches.meta.txt").write_text(text)
    (tmp_path / "pickled/cifar-10-batches-py/batches.meta").write_bytes(
        pickle.dumps({"label_names": listed})
    )
    for kind in ("binary", "pickled"):
        if names == 10:
            assert read_dataset(own(tmp_path / kind), 0).class_names == tuple(listed)
        else:
            with pytest.raises(DataError, match="names 9 classes; CIFAR-10 has 10"):
                read_dataset(own(tmp_path / kind), 0)


def test_missing_files_name_the_places_and_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(own(tmp_path), 0)
    for part in (f"{tmp_path}/cifar-10-batches-py", "data.download = true", "data.root = "):
        assert part in str(caught.value)


def write_image_files(root: Path, classes: tuple[str, ...] = cifar10.CIFAR10_CLASSES) -> None:
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for n in range(2):
                pixels = np.full((32, 32, 3), 20 * label + n, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{n}.png")


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_images_as_files_are_read_as_the_batches_are(tmp_path: Path, below: str) -> None:
    write_image_files(tmp_path / below)
    data = read_dataset(own(tmp_path), 0)
    assert data.class_names == cifar10.CIFAR10_CLASSES and data.shape == (3, 32, 32)
    assert data.test_labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert data.test_images[:, 0, 0, 0].tolist() == [20 * i + n for i in range(10) for n in (0, 1)]


def test_published_image_files_are_five_and_one_thousand_of_a_class(tmp_path: Path) -> None:
    write_image_files(tmp_path)
    with pytest.raises(DataError, match=r"airplane: 2 images, CIFAR-10 has 5,000; .*'none'"):
        read_dataset(own(tmp_path, checksum="published"), 0)


def test_a_folder_of_another_set_is_not_taken_for_cifar10(tmp_path: Path) -> None:
    write_image_files(tmp_path / "more", (*cifar10.CIFAR10_CLASSES, "zebra"))
    with pytest.raises(DataError, match="class folder 'zebra' is none of CIFAR-10's"):
        read_dataset(own(tmp_path / "more"), 0)
    write_image_files(tmp_path / "cinic10")
    (tmp_path / "cinic10" / "valid").mkdir()
    with pytest.raises(DataError, match="no folder with all of its files"):
        read_dataset(own(tmp_path / "cinic10"), 0)
