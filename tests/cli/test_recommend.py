"""'kdopt features' and 'kdopt recommend' as a user runs them, on a real small campaign."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from kdopt.advice.training_set import load_shipped_lessons
from kdopt.features.measurements import read_measurements
from kdopt.store.database import open_store
from tests.cli.test_cli import kdopt, refused
from tests.small_campaigns import make_spec

FOUR = ["uniform", "specialized", "label_chunks", "label_dirichlet"]
PAIR = "four/specialized/t00-s01"


def write_campaign(name, partitions):
    """A campaign of six pairs in each partition, with methods on one public set."""
    return make_spec(
        name=name,
        participants=3,
        partitions=partitions,
        stages=["tune", "compare"],
        pretrain={"epochs": 2},
        tune={"temperatures": [1, 4], "alphas": [0.1, 0.5]},
        transfer={
            "public_unlabeled_small": 0,
            "public_unlabeled_large": 64,
            "public_labeled": 0,
        },
        **{"partition.label_chunks": {"chunk_size": 12}},
    )


def answered(end):
    assert end.returncode == 0, end.stderr
    return end.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with a campaign of 24 pairs of four partitions."""
    path = tmp_path_factory.mktemp("advice")
    (path / "four.toml").write_text(write_campaign("four", FOUR))
    end = kdopt(path, "run", "four.toml", "--workers", 2)
    assert end.returncode == 0, end.stderr
    return path


def checkpoint(folder, participant):
    """The checkpoint of a participant of the partition ``specialized``."""
    store = open_store(str(folder / "storage" / "kdopt.db"))
    sha256 = read_measurements(store, "four")["specialized"].checkpoints[participant]
    store.close()
    return folder / "storage" / "artifacts" / sha256[:2] / f"{sha256}.safetensors"


def test_run_measures_and_the_report_shows_the_tree(folder):
    store = open_store(str(folder / "storage" / "kdopt.db"))
    assert set(read_measurements(store, "four")) == set(FOUR)
    store.close()
    report = folder / "storage" / "reports" / "four"
    assert (
        "To distil on the student's own labelled images (24 pairs, 4 partitions, four)"
        in (report / "advice.txt").read_text()
    )
    page = (report / "report.html").read_text()
    assert "Advice for new pairs" in page and 'id="advice-own"' in page
    assert "nothing to measure" in answered(kdopt(folder, "features"))


def test_features_are_measured_for_a_store_that_has_none(folder):
    import sqlite3

    with sqlite3.connect(folder / "storage" / "kdopt.db", timeout=600) as connection:
        (kept,) = connection.execute(
            "SELECT value_json FROM study_user_attributes WHERE key = 'kd:facts'"
        ).fetchone()
        connection.execute("DELETE FROM study_user_attributes WHERE key = 'kd:facts'")
    assert "measured uniform, specialized" in answered(kdopt(folder, "features"))
    with sqlite3.connect(folder / "storage" / "kdopt.db", timeout=600) as connection:
        (again,) = connection.execute(
            "SELECT value_json FROM study_user_attributes WHERE key = 'kd:facts'"
        ).fetchone()
    assert json.loads(again) == json.loads(kept)


def test_the_three_ways_to_ask_about_one_pair_agree(folder):
    stored = json.loads(answered(kdopt(folder, "recommend", "--pair", PAIR, "--json")))
    assert stored["about"] == PAIR and stored["learnt_from"]["cases"] == 23
    typed = [
        part
        for name, value in stored["features"].items()
        for part in (
            "--feature",
            f"{name}={2**value if name == 'size_ratio' else value}",
        )
    ]
    given = json.loads(answered(kdopt(folder, "recommend", *typed, "--json")))
    assert given["features"] == pytest.approx(stored["features"])
    models = json.loads(
        answered(
            kdopt(
                folder,
                *("recommend", "--json", "--spec", "four.toml", "--partition", "specialized"),
                *("--teacher", checkpoint(folder, 0), "--teacher-participant", 0),
                *("--student", checkpoint(folder, 1), "--student-participant", 1),
            )
        )
    )
    assert models["features"] == pytest.approx(stored["features"], abs=1e-3)
    # Only the stored pair is left out of what its advice is learnt from.
    assert given["learnt_from"]["cases"] == models["learnt_from"]["cases"] == 24
    nearest = models["nearest"][0]
    assert (nearest["partition"], nearest["teacher"], nearest["student"]) == ("specialized", 0, 1)
    assert models["method"] == given["method"]


def test_the_answer_is_complete(folder):
    text = answered(kdopt(folder, "recommend", "--gap", 99))
    for label in ("Pair", "Advice", "Because", "Expected", "Rules", "Tree", "Evidence", "Caution"):
        assert re.search(rf"^{label} ", text, re.MULTILINE), label
    assert "on partitions that were not learnt from it lost" in text
    assert "99 pp is outside the range that was seen" in text


def test_public_images_have_their_own_advice(folder):
    text = answered(
        kdopt(
            folder,
            "recommend",
            "--pair",
            PAIR,
            "--transfer-set",
            "public_unlabeled_large",
            "--json",
        )
    )
    assert json.loads(text)["situation"] == "public_unlabeled"
    # What comes with kdopt stands in where the store has none, unless a campaign was named.
    on_labeled = ("recommend", "--gap", 1, "--transfer-set", "public_labeled")
    assert "0 finished cases" in answered(kdopt(folder, *on_labeled)).splitlines()[0]
    refused(
        kdopt(folder, *on_labeled, "--campaign", "four"),
        "too little to learn from: 0 finished cases",
    )


def test_a_pair_that_was_measured_has_its_verdict_first(folder):
    text = answered(kdopt(folder, "recommend", "--pair", PAIR))
    first, second, third = text.splitlines()[:3]
    assert re.match(rf"Measured  {PAIR}: (leave as it is|train on|distil)", first)
    assert f"('kdopt best {PAIR}' says why)" in first
    assert second.strip() == "what follows is learnt from other pairs"
    assert third.startswith(f"Pair      {PAIR}; on ")
    # Where nothing can be learnt for it, what was measured stands all the same.
    asked = ("recommend", "--pair", PAIR, "--transfer-set", "public_labeled", "--campaign", "four")
    first, second = answered(kdopt(folder, *asked)).splitlines()
    assert first.startswith(f"Measured  {PAIR}: ")
    assert second.startswith("Advice    none: too little to learn from")
    record = json.loads(answered(kdopt(folder, *asked, "--json")))
    assert record["measured"] and "too little" in record["refused"]


def test_rules(folder):
    text = answered(kdopt(folder, "recommend", "--rules"))
    assert text.count("To distil on") == 2
    assert "oracle, best on test" in text and "a partition left out" in text


def test_the_papers_guide_stands_with_what_it_loses(folder, tmp_path):
    text = answered(kdopt(folder, "recommend", "--guide"))
    assert "=> DML (paper, IV-A, IV-B)" in text and "24 of 24" in text
    assert "on public images without labels: " in text
    record = json.loads(answered(kdopt(folder, "recommend", "--guide", "--json")))
    assert {line["situation"] for line in record["measured"]} == {"own", "public_unlabeled"}
    # Without a store it is measured on what comes with kdopt.
    text = answered(kdopt(tmp_path, "recommend", "--guide"))
    assert "Note: too little of your own" in text and "660 of 660" in text


def test_what_cannot_be_answered_is_refused_with_the_reason(folder):
    refused(kdopt(folder, "recommend"), "nothing was given", "--pair", "--gap")
    refused(kdopt(folder, "recommend", "--gap", 1, "--rules"), "--gap or --feature, --rules")
    refused(kdopt(folder, "recommend", "--guide", "--rules"), "--rules, --guide was given")
    refused(kdopt(folder, "recommend", "--feature", "age=3"), "'age=3'", "teacher_entropy")
    refused(kdopt(folder, "recommend", "--pair", "four/uniform"), "'four/uniform' names no pair")
    refused(kdopt(folder, "recommend", "--pair", "four/uniform/t00-s07"), "no such pair")
    refused(kdopt(folder, "recommend", "--pair", "none/uniform/t00-s01"), "'none'")
    refused(kdopt(folder, "recommend", "--teacher", "a"), "all three are needed")
    refused(kdopt(folder, "recommend", "--gap", 1, "--campaign", "other"), "'other'")
    refused(
        kdopt(
            folder,
            *("recommend", "--teacher", "four.toml", "--student", "four.toml"),
            *("--spec", "four.toml"),
        ),
        "checkpoint four.toml: not a safetensors file",
    )


def test_a_store_with_too_little_has_the_lessons_that_come_with_kdopt(tmp_path):
    (tmp_path / "one.toml").write_text(write_campaign("one", ["uniform"]))
    shipped = load_shipped_lessons()
    for finished in ("no store", "a plan"):
        text = answered(kdopt(tmp_path, "recommend", "--gap", 5))
        assert text.startswith(
            "Note      too little of your own to learn from (0 finished cases of 0 partitions)"
        ), finished
        assert f"{len(shipped['own'])} cases of 5 kinds of partition, by studies/" in text
        assert "test gain " in text and "net gain " in text
        on_public = answered(
            kdopt(tmp_path, "recommend", "--gap", 5, "--transfer-set", "public_unlabeled_small")
        )
        assert f"{len(shipped['public_unlabeled'])} cases of 5 kinds" in on_public
        rules = answered(kdopt(tmp_path, "recommend", "--rules"))
        assert f"{len(shipped['own'])} pairs, 5 partitions, " in rules
        assert "fashion-advice (comes with kdopt)" in rules
        if finished == "no store":
            refused(kdopt(tmp_path, "recommend", "--gap", 5, "--campaign", "one"), "no store")
            refused(kdopt(tmp_path, "recommend", "--pair", PAIR), "no store at storage/kdopt.db")
            answered(kdopt(tmp_path, "plan", "one.toml"))
    refused(
        kdopt(tmp_path, "recommend", "--gap", 5, "--campaign", "one"),
        "too little to learn from: 0 finished cases of 0 partitions",
        "takes 20 of 3 partitions",
    )
    refused(kdopt(tmp_path, "recommend", "--gap", 5, "--store", "elsewhere.db"), "elsewhere.db")


def test_only_checkpoints_take_torch(folder):
    script = """
import sys
sys.argv = ["kdopt", *sys.argv[1:]]
from kdopt.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not {m.split(".")[0] for m in sys.modules} & {"torch", "torchvision"}
"""
    for command in (
        ["recommend", "--gap", "3"],
        ["recommend", "--pair", PAIR],
        ["recommend", "--rules"],
        ["report", "--out", "elsewhere"],
    ):
        end = subprocess.run(
            [sys.executable, "-c", script, *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert end.returncode == 0, (command, end.stderr)
