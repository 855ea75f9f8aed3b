"""Files of arrays that participants bring along, and public data without labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import Dataset, load_dataset, load_planned_dataset
from kdopt.data.splits import make_splits
from kdopt.errors import DataError, KdoptError
from kdopt.service.outlook import count_overlaps
from kdopt.service.planner import draw_splits

N = 60
LABELS = np.arange(N) % 3
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(N, 4)).astype(np.float32)
TOKENS = RNG.integers(1, 20, (N, 5))
OWN = """
name = "mine"
partitions = ["own"]
stages = ["tune"]
[data]
name = "arrays"
root = "shared.npz"
{data}
[[participant]]
name = "paris"
model = "{model}"
data = "paris.npz"
[[participant]]
name = "rome"
model = "{model}"
data = "{rome}"
"""
PUBLIC = """
name = "public"
participants = 2
stages = ["compare"]
partitions = ["uniform"]
[partition.uniform]
min_size = 5
[data]
name = "{name}"
{data}
[transfer]
public_data = "{place}"
public_unlabeled_small = 6
public_unlabeled_large = 0
public_labeled = {labeled}
"""


def load(text: str) -> Dataset:
    return load_dataset(parse_spec(text).campaign)


@pytest.fixture
def folder(own_folders: Path) -> Path:
    """The working directory, with shared vectors and those of one participant."""
    np.savez("shared.npz", x=VECTORS, y=LABELS)
    np.savez("paris.npz", x=VECTORS[:20] + 1, y=LABELS[:20])
    return own_folders / "work"


def test_own_files_are_their_owners_training_data(folder: Path) -> None:
    np.savez(
        "rome.npz", vectors=VECTORS[:9] - 1, labels=np.array([f"class {i}" for i in LABELS[:9]])
    )
    data = load(OWN.format(data="", model="mlp", rome="rome.npz"))
    assert data.owned == ((45, 65), (65, 74))
    assert np.array_equal(
        data.train_images[45:], np.concatenate([VECTORS[:20] + 1, VECTORS[:9] - 1])
    )
    assert np.array_equal(data.train_labels[65:], LABELS[:9])


def test_own_sequences_are_filled_up_to_the_length_of_all(folder: Path) -> None:
    np.savez("shared.npz", tokens=TOKENS, labels=LABELS)
    np.savez("paris.npz", tokens=TOKENS[:, :3], labels=LABELS)
    data = load(OWN.format(data="padding = 0", model="text_cnn", rome="paris.npz"))
    assert np.array_equal(data.train_images[45:105, :3], TOKENS[:, :3])
    assert not data.train_images[45:, 3:].any()


def write_folder(_: Path) -> str:
    Path("images/a").mkdir(parents=True)
    return "images"


def write_wide(_: Path) -> str:
    np.savez("wide.npz", x=np.ones((5, 9)), y=LABELS[:5])
    return "wide.npz"


def write_unknown(_: Path) -> str:
    np.savez("unknown.npz", x=VECTORS, y=LABELS + 1)
    return "unknown.npz"


def write_unlabeled(_: Path) -> str:
    np.savez("unlabeled.npz", x=VECTORS)
    return "unlabeled.npz"


def write_split(_: Path) -> str:
    np.savez("split.npz", train_x=VECTORS, train_y=LABELS, test_x=VECTORS, test_y=LABELS)
    return "split.npz"


def write_images(_: Path) -> str:
    np.savez("pictures.npz", images=np.zeros((5, 8, 8), np.uint8), y=LABELS[:5])
    return "pictures.npz"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_folder, r"'rome': images is a folder, and the data set has vectors of 4 numbers"),
        (write_wide, "each is 9, and the data set has vectors of 4 numbers; give such"),
        (write_unknown, r"label 3 of row 2 is outside 0\.\.2"),
        (write_unlabeled, "it has no labels; add"),
        (write_split, r"it has splits \(train, test\), and here it is training data"),
        (write_images, "it holds images, and the data set has vectors of 4 numbers"),
        (lambda _: "nowhere.npz", "'rome': there is no folder .*nowhere.npz, nor such a file"),
    ],
)
def test_own_files_have_to_be_like_the_data_set(
    folder: Path, write: Callable[[Path], str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(OWN.format(data="", model="mlp", rome=write(folder)))


def test_tokens_beyond_the_vocabulary_say_how_to_widen_it(folder: Path) -> None:
    np.savez("shared.npz", tokens=TOKENS, labels=LABELS)
    np.savez("paris.npz", tokens=TOKENS + 5, labels=LABELS)
    with pytest.raises(DataError, match=r"outside 0\.\.19; .* or set data.vocabulary"):
        load(OWN.format(data="padding = 0", model="text_cnn", rome="paris.npz"))
    wider = load(
        OWN.format(data="padding = 0\nvocabulary = 30", model="text_cnn", rome="paris.npz")
    )
    assert wider.train_images.max() == TOKENS.max() + 5


@pytest.fixture
def web(folder: Path) -> str:
    """Ten grey images in folders that are no classes."""
    for number in range(10):
        place = folder / "web" / f"day {number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return "web"


def test_public_images_are_the_folders_and_no_participant_gets_them(web: str) -> None:
    spec = parse_spec(PUBLIC.format(name="digits", data="", place=web, labeled=0))
    data = load_dataset(spec.campaign)
    splits = make_splits(spec.campaign, "uniform", data.train_labels, 10, data.owned, data.given)
    assert len(splits.public) == 6 and (data.train_labels[splits.public] == -1).all()
    assert splits.public.min() >= 1348 and data.given.public == (1348, 1358)
    used = np.concatenate([*splits.train, splits.validation])
    assert (data.train_labels[used] >= 0).all()
    assert count_overlaps(data).classes == 0
    plain = parse_spec(
        PUBLIC.format(name="digits", data="", place=web, labeled=0).replace(
            'public_data = "web"\n', ""
        )
    )
    held_out = make_splits(plain.campaign, "uniform", load_dataset(plain.campaign).train_labels, 10)
    assert sum(map(len, splits.train)) >= sum(map(len, held_out.train))


def test_public_vectors_come_from_a_file(folder: Path) -> None:
    np.savez("public.npz", x=VECTORS[:8] * 2)
    data = load(
        PUBLIC.format(name="arrays", data='root = "shared.npz"', place="public.npz", labeled=0)
    )
    start, end = data.given.public
    assert np.array_equal(data.train_images[start:end], VECTORS[:8] * 2)


def test_a_worker_refuses_other_public_images(web: str, folder: Path) -> None:
    spec = parse_spec(PUBLIC.format(name="digits", data="", place=web, labeled=0))
    data = load_dataset(spec.campaign)
    splits = dict.fromkeys(draw_splits(spec.campaign, data), "0" * 64)
    record = CampaignRecord(spec.campaign, spec.settings, data.sha256(), splits)
    assert load_planned_dataset(record).sha256() == data.sha256()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "web" / "day 0" / "0.png")
    with pytest.raises(DataError, match="not those that the campaign was planned with"):
        load_planned_dataset(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("public_labeled = 0", "public_labeled = 5"), "public_labeled = 5: .* no labels; set it"),
        (("small = 6", "small = 11"), "has 10, and the largest public set is to have 11; make"),
        (('"web"', '"nowhere"'), "transfer.public_data: there is no folder .*nowhere"),
        (('stages = ["compare"]', 'stages = ["tune"]'), "no stage uses a public set; leave it out"),
    ],
)
def test_public_data_that_cannot_serve_is_refused(
    web: str, change: tuple[str, str], message: str
) -> None:
    text = PUBLIC.format(name="digits", data="", place=web, labeled=0)
    with pytest.raises(KdoptError, match=message):
        load(text.replace(*change))
