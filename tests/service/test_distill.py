"""The student of a pair comes home with the accuracy on record, kept or trained again."""

from __future__ import annotations

import logging

import pytest

from kdopt.analysis.reruns import compare_outcomes
from kdopt.analysis.students import TrialChoice
from kdopt.data.datasets import load_planned_dataset
from kdopt.outcome import Pair
from kdopt.service.distill import distill_student
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store
from kdopt.store.kept import find_kept
from kdopt.train.students import pack_student, read_student

PAIR = Pair("label_dirichlet", 0, 1)


def list_trials(store, stage):
    rows = queries.read_trials(store, "home")
    return [r for r in rows if r.stage == stage and r.pair in (PAIR, None)]


@pytest.fixture
def kept_number(finished):
    """The trial of the pair whose student was kept."""
    rows = [r for stage in ("tune", "compare") for r in list_trials(finished.store, stage)]
    (row,) = [r for r in rows if find_kept(finished.store, r.study, r.number)]
    return f"{row.stage}/{row.number}"


@pytest.mark.parametrize("stage", ["pretrain", "control", "tune", "compare"])
def test_a_student_gives_the_accuracy_on_record_also_from_its_file(finished, stage, tmp_path):
    row = list_trials(finished.store, stage)[-1]
    choice = TrialChoice(f"{stage}/{row.number}")
    model, facts, record = distill_student(finished.store, finished.artifacts, "home", PAIR, choice)
    assert record.recorded == row.outcome
    assert record.deviations == () and record.machine == ""
    path = tmp_path / "student.safetensors"
    path.write_bytes(pack_student(model, facts))
    dataset = load_planned_dataset(queries.read_record(finished.store, "home"))
    student = read_student(path)
    right = student.predict(dataset.test_images).numpy() == dataset.test_labels
    assert float(right.mean()) == row.outcome.test.accuracy == student.facts.test_accuracy
    assert {"images", "splits", "teacher (participant 0)"} < set(record.hashes)


def test_a_kept_student_is_used_and_is_the_one_that_training_again_gives(
    finished, kept_number, tmp_path
):
    choice = TrialChoice(kept_number)
    kept = distill_student(finished.store, finished.artifacts, "home", PAIR, choice)
    assert kept.record.source == "kept" and kept.record.deviations == ()
    content = pack_student(kept.model, kept.facts)
    # In a copy without its file it is trained again.
    back_up_store(finished.store, finished.artifacts, tmp_path)
    copy, shelf = open_store(str(tmp_path / "kdopt.db")), Artifacts(tmp_path / "artifacts")
    row = kept.record.chosen.row
    sha256 = find_kept(copy, row.study, row.number)
    assert shelf.get(sha256) == content
    shelf.discard(sha256)
    again = distill_student(copy, shelf, "home", PAIR, choice)
    assert again.record.source == "trained again"
    assert pack_student(again.model, again.facts) == content
    copy.close()


def test_weights_that_are_not_those_on_record_are_not_used(
    finished, kept_number, monkeypatch, caplog
):
    number = int(kept_number.split("/")[1])
    other = distill_student(
        finished.store, finished.artifacts, "home", PAIR, TrialChoice("pretrain/1")
    )
    monkeypatch.setattr(
        "kdopt.service.distill.find_kept", lambda *_: other.record.recorded.checkpoint
    )
    with caplog.at_level(logging.WARNING):
        found = distill_student(
            finished.store, finished.artifacts, "home", PAIR, TrialChoice(kept_number)
        )
    assert "do not give the accuracy on record; it is trained again" in caplog.text
    assert (found.record.source, found.record.chosen.row.number) == ("trained again", number)
    assert compare_outcomes(found.record.recorded, found.record.found) == ()


def test_by_default_the_verdict_chooses(finished):
    found = distill_student(finished.store, finished.artifacts, "home", PAIR)
    assert found.record.chosen.by_verdict
