import json
import random
from dataclasses import replace

import pytest

from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.measurements import PartitionMeasurements
from kdopt.features.table import PAIR_COLUMNS, tabulate_pairs
from kdopt.outcome import find_pretrained
from tests.analysis.synthetic import accuracy_of, compare_campaign, make_campaign, pretrain_rows

MEASURED = PartitionMeasurements(
    label_counts=((10, 0), (0, 20), (5, 5)),
    checkpoints=("a" * 64, "b" * 64, "c" * 64),
    disagreement={"student": ((None, 0.1, 0.2), (0.3, None, 0.4), (0.5, 0.6, None))},
    teacher_entropy={"student": ((None, 0.9, 0.8), (0.7, None, 0.6), (0.5, 0.4, None))},
)


def line(table, teacher, student):
    found = table[(table["teacher"] == teacher) & (table["student"] == student)]
    assert len(found) == 1
    return found.iloc[0]


def test_one_line_per_pair_of_pretrained_participants():
    campaign = compare_campaign()
    rows = pretrain_rows(campaign)
    table = tabulate_pairs(rows, campaign)
    assert list(table.columns) == [*PAIR_COLUMNS, *FEATURE_NAMES]
    assert len(table) == 5 * 4 * 3
    lost = [r for r in rows if not (r.partition == "uniform" and r.params["participant"] == 2)]
    left = tabulate_pairs(lost, campaign)
    assert len(left) == 5 * 4 * 3 - 6
    uniform = left[left["partition"] == "uniform"]
    assert 2 not in set(uniform["teacher"]) | set(uniform["student"])


def test_the_order_of_rows_does_not_matter():
    campaign = compare_campaign()
    rows = pretrain_rows(campaign)
    mixed = random.Random(1).sample(rows, len(rows))
    assert tabulate_pairs(rows, campaign).equals(tabulate_pairs(mixed, campaign))


def test_what_is_known_without_measurements():
    campaign = make_campaign()
    table = tabulate_pairs(pretrain_rows(campaign), campaign)
    gap = 100 * (accuracy_of(2) - accuracy_of(0))
    assert line(table, 2, 0)["accuracy_gap"] == pytest.approx(gap)
    assert table[["label_distance", "size_ratio", "disagreement"]].isna().all(axis=None)


def test_measurements_give_the_rest():
    campaign = make_campaign()
    table = tabulate_pairs(pretrain_rows(campaign), campaign, {"uniform": MEASURED})
    found = line(table, 1, 0)
    assert found["label_distance"] == 1  # no class in common
    assert found["size_ratio"] == pytest.approx(1)  # twice the images
    assert found["coverage"] == 0
    assert found["disagreement"] == pytest.approx(30)
    assert found["teacher_entropy"] == pytest.approx(0.7)


def test_another_transfer_set_was_not_measured():
    campaign = make_campaign()
    table = tabulate_pairs(
        pretrain_rows(campaign), campaign, {"uniform": MEASURED}, transfer_set="public_labeled"
    )
    assert table["disagreement"].isna().all()
    assert table["label_distance"].notna().all()


def test_only_complete_pretraining_counts():
    campaign = make_campaign()
    rows = [replace(r, state="FAIL", outcome=None) for r in pretrain_rows(campaign)]
    assert find_pretrained(rows) == {}
    assert tabulate_pairs(rows, campaign).empty


def test_measurements_are_read_as_they_were_written():
    assert PartitionMeasurements.from_json(json.loads(json.dumps(MEASURED.to_json()))) == MEASURED
