"""A worker is told where its files are without planning again, and believes their digest alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import load_dataset, load_planned_dataset
from kdopt.errors import DataError
from tests.conftest import make_campaign, make_record


def draw_images(folder, seed):
    noise = np.random.default_rng(seed)
    for split, n in (("train", 4), ("test", 2)):
        for name in ("cats", "dogs"):
            (folder / split / name).mkdir(parents=True)
            for number in range(n):
                pixels = noise.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A campaign that was planned with images in ``here/pets``."""
    monkeypatch.setenv("KDOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KDOPT_DATA", raising=False)
    folder = draw_images(tmp_path / "here" / "pets", 0)
    campaign = make_campaign(data=DataSettings("folder", root=str(folder), image_size=8))
    record = make_record(campaign)
    return folder, dataclasses.replace(record, data_sha256=load_dataset(campaign).sha256())


@pytest.mark.parametrize("told", ["there/pets", "there"])
def test_a_worker_finds_the_files_where_it_is_told(pets, tmp_path, monkeypatch, told):
    folder, record = pets
    (tmp_path / "there").mkdir()
    folder.rename(tmp_path / "there" / "pets")
    with pytest.raises(DataError, match="no such folder"):
        load_planned_dataset(record)
    monkeypatch.setenv("KDOPT_DATA", str(tmp_path / told))
    assert load_planned_dataset(record).sha256() == record.data_sha256


def test_files_that_are_others_or_none_do_not_count(pets, tmp_path, monkeypatch):
    folder, record = pets
    draw_images(tmp_path / "there" / "pets", 1)
    for told in ("there", "there/pets", "nowhere", ""):
        monkeypatch.setenv("KDOPT_DATA", str(tmp_path / told) if told else "")
        assert load_planned_dataset(record).sha256() == record.data_sha256, told
    monkeypatch.setenv("KDOPT_DATA", str(tmp_path / "there"))
    folder.rename(tmp_path / "away")
    with pytest.raises(DataError, match="no such folder") as found:
        load_planned_dataset(record)
    message = str(found.value)
    assert str(folder) in message and str(tmp_path / "there" / "pets") in message
    assert "not those that the campaign was planned with" in message and "KDOPT_DATA" in message


def test_planning_goes_by_the_campaign_file(pets, tmp_path, monkeypatch):
    _, record = pets
    draw_images(tmp_path / "there" / "pets", 1)
    monkeypatch.setenv("KDOPT_DATA", str(tmp_path / "there"))
    assert load_dataset(record.campaign).sha256() == record.data_sha256
