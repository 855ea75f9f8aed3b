"""The campaigns of docs/your-data.md can be planned, with files as the page describes them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import load_dataset
from kdopt.service.outlook import count_overlaps
from kdopt.service.planner import check_training, draw_splits
from tests.data.test_hf import save_parquet

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CAMPAIGNS = [text for language, text in BLOCKS if language == "toml" and "KMNIST" not in text]
"""But for the one whose files are 60,000 images; ``test_torchvision_sets`` reads such files."""

N = 1200


def write_files() -> None:
    rng, labels = np.random.default_rng(0), np.arange(N) % 3
    exec(next(text for language, text in BLOCKS if language == "python"), {})
    np.savez("topics.npz", tokens=rng.integers(0, 900, (N, 9)), labels=labels)
    tokens = rng.integers(0, 900, (N, 9)).tolist()
    import pyarrow

    table = pyarrow.table({"input_ids": tokens, "label": labels})
    save_parquet(Path("emotion-on-disk/train-00000-of-00001.parquet"), table)
    for number in range(500):
        place = Path("web-images") / str(number % 7)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9)).astype(np.uint8)).save(place / f"{number}.png")


@pytest.mark.parametrize("text", CAMPAIGNS, ids=lambda text: text.split('"')[1])
def test_the_campaigns_of_the_page_can_be_planned(own_folders: Path, text: str) -> None:
    write_files()
    campaign = parse_spec(text).campaign
    dataset = load_dataset(campaign)
    check_training(campaign, dataset)
    assert draw_splits(campaign, dataset).keys() == {p.name for p in campaign.partitions}
    assert count_overlaps(dataset).test == 0
