"""A file of logits says which image each row is of; what is wrong with it is said, and how."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.participants import ParticipantSettings
from kdopt.campaign.settings import Campaign
from kdopt.data.datasets import read_dataset
from kdopt.data.given_logits import (
    LEAST_PROBABILITY,
    AskedImages,
    check_output,
    find_transfer_positions,
    list_asked_images,
    pack_logits,
    parse_logits,
    read_logits,
    write_asked_images,
)
from kdopt.data.image_keys import hash_images
from kdopt.data.splits import Splits
from kdopt.errors import ArtifactError, DataError
from tests.analysis.synthetic import make_campaign

NEEDED = np.arange(10, 40)


@pytest.fixture(scope="module")
def dataset():
    return read_dataset(DataSettings(name="digits", train_size=60, test_size=20), 0)


@pytest.fixture(scope="module")
def keys(dataset):
    return np.array([key.hex() for key in hash_images(dataset.train_images)])


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(60, 10)).astype(np.float32)


def read(path, dataset, **more):
    given = ParticipantSettings(name="big", logits=str(path), **more)
    return read_logits(given, dataset, NEEDED)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "teacher.npz", **arrays)
        return tmp_path / "teacher.npz"

    return write


def test_rows_find_their_images_whatever_their_order(dataset, keys, rows, save):
    order = np.random.default_rng(1).permutation(60)[:50]
    order = np.union1d(order, NEEDED)[::-1]
    found = read(save(keys=keys[order], logits=rows[order]), dataset)
    np.testing.assert_array_equal(found.train[order], rows[order])
    assert np.isnan(found.train).all(axis=1).sum() == 60 - len(order)
    assert np.isnan(found.test).all()


def test_rows_of_other_images_are_passed_over(dataset, keys, rows, save):
    more = np.concatenate([keys, ["0" * 32]]), np.concatenate([rows, rows[:1]])
    found = read(save(keys=more[0], logits=more[1]), dataset)
    np.testing.assert_array_equal(found.train, rows)


@pytest.mark.parametrize("kind", ["text", "bytes", "uint8", "safetensors", "half", "double"])
def test_keys_and_numbers_may_be_of_several_types(kind, dataset, keys, rows, save, tmp_path):
    raw = np.array([list(bytes.fromhex(key)) for key in keys], np.uint8)
    path = tmp_path / "teacher.safetensors"
    if kind == "safetensors":
        safetensors.numpy.save_file({"keys": raw, "logits": rows}, path)
    else:
        forms = {"bytes": np.char.encode(keys), "uint8": raw}
        types = {"half": np.float16, "double": np.float64}
        numbers = rows.astype(types.get(kind, np.float32))
        path = save(keys=forms.get(kind, keys), logits=numbers)
    found = read(path, dataset)
    np.testing.assert_allclose(found.train, rows, atol=2e-3 if kind == "half" else 0)


def test_probabilities_become_logits_of_the_same_distribution(dataset, keys, rows, save):
    shares = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    shares[0] = np.eye(10)[3]
    path = save(keys=keys, logits=shares.round(3))
    found = read(path, dataset, outputs="probabilities").train
    again = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(again, shares, atol=2e-3)
    assert found.min() == np.log(np.float32(LEAST_PROBABILITY))


def test_classes_that_a_teacher_lacks_get_no_probability(dataset, keys, rows, save):
    found = read(save(keys=keys, logits=rows[:, :2]), dataset, classes=("7", "2")).train
    np.testing.assert_array_equal(found[:, [7, 2]], rows[:, :2])
    assert (np.delete(found, [7, 2], axis=1) < rows[:, :2].min(axis=1, keepdims=True) - 29).all()


def test_what_is_kept_is_read_back_for_the_same_images_only(dataset, keys, rows, save):
    found = read(save(keys=keys, logits=rows), dataset)
    kept = parse_logits(pack_logits(found), dataset)
    np.testing.assert_array_equal(kept.train, rows)
    other = read_dataset(DataSettings(name="digits", train_size=61, test_size=20), 0)
    for content in (pack_logits(found), b"nothing"):
        with pytest.raises(ArtifactError):
            parse_logits(content, other)


def with_value(rows, value):
    changed = rows.astype(np.float64)
    changed[7, 3] = value
    return changed


REFUSED = [
    (lambda k, r: {"keys": k}, "it has no array 'logits'; save both with numpy.savez"),
    (lambda k, r: {"logits": r}, "it has no array 'keys'"),
    (lambda k, r: {"keys": k[:20], "logits": r[:20]},
     "it lacks 20 of the 30 images that students are distilled on, such as "),
    (lambda k, r: {"keys": [f"{i:032x}" for i in range(60)], "logits": r},
     "none of its 60 keys is of an image of this campaign"),
    (lambda k, r: {"keys": k, "logits": r[:, :9]}, "logits are 60x9; they must be images x 10"),
    (lambda k, r: {"keys": k, "logits": r[:, 0]}, "logits are 60; they must be images x 10"),
    (lambda k, r: {"keys": k, "logits": r[:59]}, "60 keys and 59 rows"),
    (lambda k, r: {"keys": k[:0], "logits": r[:0]}, "it has no rows"),
    (lambda k, r: {"keys": k, "logits": (9 * r).astype(int)}, "logits are int64; they must be"),
    (lambda k, r: {"keys": k, "logits": with_value(r, np.nan)}, "(as float32) in 1 of 60 rows"),
    (lambda k, r: {"keys": k, "logits": with_value(r, 1e300)}, "the first of them row 7;"),
    (lambda k, r: {"keys": [*k[:59], k[0]], "logits": r}, "it repeats 1 of its 60 keys"),
    (lambda k, r: {"keys": np.arange(60), "logits": r}, "keys are int64 60; they must be those of"),
    (lambda k, r: {"keys": [f"{i}.png" for i in range(60)], "logits": r}, "32 hexadecimal digits"),
    (lambda k, r: {"keys": k, "logits": np.full((60, 10), 0.1)}, 'Add outputs = "probabilities"'),
    (lambda k, r: {"keys": k, "logits": np.array([[{}] * 10] * 60)}, "Python objects, which are"),
    (lambda k, r: {"keys": k.astype(object), "logits": r}, "Python objects, which are pickled"),
]  # fmt: skip


@pytest.mark.parametrize(("arrays", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_wrong_is_said_with_the_fix(arrays, said, dataset, keys, rows, save):
    path = save(**arrays(keys, rows))
    with pytest.raises(DataError) as caught:
        read(path, dataset)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"participant 'big': logits {path}: ")


def test_numbers_that_are_no_probabilities_are_not_taken_for_such(dataset, keys, rows, save):
    path = save(keys=keys, logits=rows)
    with pytest.raises(DataError, match="probabilities are 0 or more and have the sum 1"):
        read(path, dataset, outputs="probabilities")
    with pytest.raises(DataError, match="the data set has no such class"):
        read(path, dataset, classes=("7", "cat"))


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def make_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write_hostile(kind, path, tmp_path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"keys": 1}))
    elif kind == "npy":
        path.write_bytes(make_npy(np.zeros(3)))
    elif kind == "text":
        path.write_text("key,logit\n")
    elif kind == "half":
        np.savez(path, keys=np.zeros(9), logits=np.zeros(9))
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "claims":
        # A header of a terabyte, before which nothing is allocated.
        huge = make_npy(np.zeros(3)).replace(b"(3,)", b"(99999999999,)")
        write_zip(path, [("logits.npy", huge)])
    elif kind == "twice":
        with pytest.warns(UserWarning, match="Duplicate name"):
            write_zip(path, [("logits.npy", make_npy(np.zeros(3)))] * 2)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room, and would take a terabyte of memory
    elif kind == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(3):
                archive.writestr("logits.npy" if number else "keys", b"\0" * 10_000_000)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", "it is a pipe"),
        ("pickle", "it is a pickle, which may run code, and was not read"),
        ("npy", "it is one array without a name"),
        ("text", "it is neither npz nor safetensors"),
        ("half", "File is not a zip file"),
        ("claims", "its header claims another size"),
        ("twice", "array 'logits': it is there twice"),
        ("bomb", "it unpacks to 30,000,000 bytes, and 20,000,000 are read"),
        ("huge", "more than 20,000,000 bytes, which is too large"),
        ("none", "No such file or directory; give the path"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_files_are_refused_and_not_run(kind, said, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("kdopt.data.array_files.MAX_ARRAY_BYTES", 20_000_000)
    path = tmp_path / "teacher.npz"
    write_hostile(kind, path, tmp_path)
    with pytest.raises(DataError) as caught:
        read(path, dataset)
    assert said in str(caught.value)


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return make_campaign(participants=2)


def make_splits():
    train = (np.arange(0, 10), np.arange(10, 20))
    return Splits(train, np.arange(30, 40), np.arange(20, 30))


def test_students_are_distilled_on_their_own_and_on_the_public_images(campaign):
    splits = make_splits()
    np.testing.assert_array_equal(find_transfer_positions(campaign, [splits]), np.arange(20))
    sizes = campaign.transfer.__class__(0, 0, 4)
    public = Campaign(**{**vars(campaign), "transfer": sizes})
    np.testing.assert_array_equal(find_transfer_positions(public, [splits]), np.arange(24))


def test_an_image_that_is_there_twice_is_asked_for_once_and_needed_if_one_is(campaign):
    dataset = read_dataset(DataSettings(name="digits", train_size=60, test_size=20), 0)
    dataset.train_images[35] = dataset.train_images[3]
    dataset.test_images[0] = dataset.test_images[1]
    asked = list_asked_images(campaign, dataset, [make_splits()])
    assert len(set(asked.keys)) == len(asked.keys) == 20 + 9 + 19
    assert asked.needed.sum() == 20 and asked.needed[3]
    np.testing.assert_array_equal(asked.images[:20], dataset.train_images[:20])


def test_rows_that_are_no_images_go_to_npz_only(tmp_path):
    vectors = np.zeros((2, 5), np.float32)
    asked = AskedImages(("00", "01"), vectors, np.array([True, False]))
    with pytest.raises(DataError, match="these are no images; give the name"):
        write_asked_images(asked, tmp_path / "folder")
    write_asked_images(asked, tmp_path / "asked.npz")
    with np.load(tmp_path / "asked.npz", allow_pickle=False) as file:
        assert file["images"].shape == (2, 5) and file["needed"].tolist() == [True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["asked.npz"]
    with pytest.raises(DataError, match="it is there already; give another name, or remove it"):
        check_output(tmp_path / "asked.npz")
