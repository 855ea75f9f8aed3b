import numpy as np
import pytest

from kdopt.advice.advise import advise_pair
from kdopt.advice.lessons import GridPair, build_from_grids
from kdopt.advice.regret import compare_policies
from kdopt.advice.training_set import DO_NOTHING, Action
from kdopt.cli.advice_sources import LESSON_PARTITIONS, load_shipped_lessons


def record(partitions=3, participants=3):
    """Pairs of models named by partition and number; vanilla gains 1 pp, T=2 as much as the gap."""
    return [
        GridPair(
            f"{p}-{t}",
            f"{p}-{s}",
            {"accuracy_gap": float(t - s)},
            {(2.0, 0.5): float(t - s), (1.0, 0.5): 1.0},
        )
        for p in range(partitions)
        for t in range(participants)
        for s in range(participants)
        if t != s
    ]


def test_pairs_that_share_models_are_of_one_partition():
    found = build_from_grids("book", ("a", "b", "c"), (1.0, 0.5), record())
    assert found.actions == (DO_NOTHING, Action("vanilla", 1.0, 0.5), Action("tuned", 2.0, 0.5))
    assert list(found.pairs["partition"]) == ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    assert list(found.pairs["teacher"][:6]) == [0, 0, 1, 1, 2, 2]
    assert list(found.pairs["student"][:6]) == [1, 2, 0, 2, 0, 1]
    assert (found.test[:, 1] == 1).all() and (found.test[:, 2] == found.pairs["accuracy_gap"]).all()
    assert found.judged_on == "validation" and np.isnan(found.control).all()
    with pytest.raises(ValueError, match="3 partitions, but 2 names"):
        build_from_grids("book", ("a", "b"), (1.0, 0.5), record())


def test_the_lessons_that_come_with_kdopt_have_the_partitions_they_are_said_to_have():
    found = load_shipped_lessons()
    assert len(found) == 150 and found.n_partitions == 5
    assert len(found.actions) == 56 and found.actions[1] == Action("vanilla", 1.0, 0.5)
    by = found.pairs.groupby("partition")
    assert list(by.groups) == sorted(LESSON_PARTITIONS)
    # Those who know one class are right in little more than one of ten.
    assert by["student_accuracy"].mean().idxmin() == "specialized"
    assert by["accuracy_gap"].max().idxmin() == "uniform"
    assert set(found.pairs["teacher"]) == set(range(6))


def test_what_looking_at_the_judging_images_would_gain_is_not_told():
    found = compare_policies(load_shipped_lessons(), names=["accuracy_gap"])
    assert not set(found["policy"]) & {"search", "oracle"}
    assert found["guarded_gain"].isna().all() and found["regret"].notna().all()


def test_they_advise_on_a_pair():
    found = advise_pair(load_shipped_lessons(), {"accuracy_gap": 20.0})
    assert found.left_out == "partition"
    assert found.anyway is None or 0.6 < found.anyway.gain.held < 1
