"""Files in a data set's folders that nobody reads: said once by each command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.hostile.commands import kdopt

SPEC = """
name = "pets"
participants = 2
partitions = ["uniform"]
stages = ["tune"]
model = "mlp"
[data]
name = "folder"
root = "images"
image_size = 8
[pretrain]
epochs = 1
batch_size = 8
[partition.uniform]
min_size = 2
[tune]
temperatures = [2]
alphas = [0.5]
"""
UNREAD = ("x.tif", "x.tiff", "x.gif", "x.ppm", "x.jfif", "x")


@pytest.fixture
def pets(here: Path) -> Path:
    """A folder of images, with files of every kind that is not read."""
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = here / "images" / split / name
            folder.mkdir(parents=True)
            for n in range(12):
                Image.new("RGB", (8, 8), (n, 99 * number, split == "test")).save(
                    folder / f"{n}.png"
                )
    for name in UNREAD:
        shutil.copy(folder / "0.png", here / "images" / "train" / "cat" / name)
    (here / "images/train/cat/more").mkdir()
    (here / "images/notes").mkdir()
    (here / "images/val").mkdir()
    (here / "images/train/readme.txt").write_text("x")
    (here / "spec.toml").write_text(SPEC)
    return here


def test_plan_run_and_doctor_say_once_what_is_not_read(pets: Path) -> None:
    kinds = [f"file {Path(name).suffix} is" for name in UNREAD[:-1]]
    kinds += [
        "file without an ending is",
        "folder within class folders is",
        "file beside the class folders is",
    ]
    for command in (["plan", "spec.toml"], ["run", "spec.toml", "--workers", 1], ["doctor"]):
        ended = kdopt(*command)
        assert ended.code == 0, ended
        said = ended.out + ended.err
        for kind in kinds:
            assert said.count(f"1 {kind}") == 1, (command, kind, said)
        assert said.count("images/val is not read: validation images are drawn from train") == 1
    shutil.rmtree(pets / "images")  # the doctor needs none
    assert kdopt("doctor").code == 0
