"""What a teacher without a model is asked: each image once, written over nothing."""

import numpy as np
import pytest

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.settings import Campaign
from kdopt.data.asked_images import (
    AskedImages,
    check_output,
    find_transfer_positions,
    list_asked_images,
    write_asked_images,
)
from kdopt.data.datasets import read_dataset
from kdopt.data.splits import Splits
from kdopt.errors import DataError
from tests.analysis.synthetic import make_campaign


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
