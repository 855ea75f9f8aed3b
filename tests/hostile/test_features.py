"""What is said of a pair when advice is asked for: numbers that a pair can have, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdopt.features.definitions import combine_features
from tests.hostile.commands import kdopt, refused

REFUSED = {
    "no gap": (["--gap", "nan"], "not a number from -100 to 100 pp"),
    "a gap without end": (["--gap", "inf"], "not a number from -100 to 100 pp"),
    "a gap of 500": (["--gap", "500"], "not a number from -100 to 100 pp"),
    "an accuracy of 500": (["--feature", "student_accuracy=500"], "from 0 to 100 %"),
    "a negative accuracy": (["--feature", "teacher_accuracy=-1"], "from 0 to 100 %"),
    "a negative loss": (["--feature", "teacher_loss=-0.1"], "from 0 to"),
    "a distance of 2": (["--feature", "label_distance=2"], "from 0 to 1"),
    "a ratio of 0": (["--feature", "size_ratio=0"], "a number above 0"),
    "a ratio of 1e300": (["--feature", "size_ratio=1e300"], "a number above 0"),
    "half an image": (["--feature", "transfer_images=0.5"], "from 1 to"),
    "twice": (["--feature", "coverage=5", "--feature", "coverage=5"], "given twice"),
    "the gap twice": (["--gap", "3", "--feature", "accuracy_gap=3"], "given twice"),
    "a teacher above 100": (["--gap", "90", "--feature", "student_accuracy=50"], "'140 ("),
    "a contradiction": (
        [
            *("--gap", "10", "--feature", "student_accuracy=50"),
            *("--feature", "teacher_accuracy=40"),
        ],
        "leave one of the three out",
    ),
}


@pytest.mark.parametrize(("options", "rule"), REFUSED.values(), ids=REFUSED)
def test_what_no_pair_can_have_is_refused(here: Path, options: list[str], rule: str) -> None:
    assert rule in refused("recommend", *options)


def test_what_follows_is_filled_in(here: Path) -> None:
    assert combine_features(10.0, ["student_accuracy=50"])["teacher_accuracy"] == 60
    rounded = combine_features(9.9, ["student_accuracy=50", "teacher_accuracy=60"])
    assert rounded["accuracy_gap"] == 9.9
    assert kdopt("recommend", "--gap", "10", "--feature", "student_accuracy=50").code == 0
