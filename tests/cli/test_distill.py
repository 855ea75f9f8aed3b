"""kdopt distill: files that load with the documented lines, and nothing overwritten in silence."""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from kdopt.cli.app import app
from kdopt.data.datasets import load_planned_dataset
from kdopt.errors import KdoptError
from kdopt.store.queries import read_record
from tests.test_docs import DOCS, read_blocks

PAIR = "home/label_dirichlet/t00-s01"


def distill(finished, output, *options):
    arguments = ["distill", PAIR, "--store", str(finished.path), "--output", str(output)]
    return CliRunner().invoke(app, [*arguments, *map(str, options)])


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def output(tmp_path):
    return tmp_path / "student.safetensors"


def test_the_documented_lines_load_the_file_and_give_the_accuracy_on_record(
    finished, output, monkeypatch
):
    end = distill(finished, output, "--trial", "tune/0")
    assert end.exit_code == 0, end.output
    assert end.stdout.splitlines()[-2:] == [str(output), str(output.with_suffix(".md"))]
    monkeypatch.chdir(output.parent)
    dataset = load_planned_dataset(read_record(finished.store, "home"))
    card = output.with_suffix(".md")
    for page in (DOCS / "take-the-student-home.md", card):
        code, plain = [b.text for b in read_blocks(page) if b.language == "python"]
        names = {"images": dataset.test_images}
        exec(code, names)
        right = names["classes"].numpy() == dataset.test_labels
        recorded = re.search(r"\| on record \| \S+ % \| (\S+) % \|", card.read_text("utf-8"))
        assert f"{100 * right.mean():.2f}" == recorded[1]
        # In plain PyTorch: a module of the same layers, with other weights before.
        names["model"] = copy.deepcopy(names["student"].model)
        for weights in names["model"].parameters():
            torch.nn.init.zeros_(weights)
        exec(plain, names)
        loaded = names["model"].state_dict()
        for key, value in names["student"].model.state_dict().items():
            assert torch.equal(loaded[key], value)


def test_files_that_are_there_stay_until_they_may_be_replaced(finished, output):
    card = output.with_suffix(".md")
    card.write_text("mine")
    end = distill(finished, output)
    assert isinstance(end.exception, KdoptError)
    assert f"{card}: there already; give another --output, or --force" in str(end.exception)
    assert list_names(output.parent) == [card.name] and card.read_text() == "mine"
    assert distill(finished, output, "--force").exit_code == 0
    assert card.read_text("utf-8").startswith("# Student 1 of home, label_dirichlet")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("student.pt", (), "give a name that ends in .safetensors"),
        ("no/student.safetensors", (), "there is no folder"),
        ("student.safetensors", ("--trial", "tune/99"), "no such trial"),
        ("student.safetensors", ("--method", "crd"), "no complete trial with method crd"),
        ("student.safetensors", ("--onnx",), r"pip install 'kdopt\[onnx\]'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    finished, tmp_path, monkeypatch, name, options, expected
):
    monkeypatch.setitem(sys.modules, "onnx", None)
    end = distill(finished, tmp_path / name, *options)
    assert isinstance(end.exception, KdoptError)
    assert re.search(expected, str(end.exception))
    assert list_names(tmp_path) == []


def test_what_fails_on_the_way_leaves_no_file(finished, output, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdopt.service.distill.export_torchscript", fail)
    end = distill(finished, output, "--trial", "pretrain/1", "--torchscript")
    assert isinstance(end.exception, KdoptError)
    assert "cannot be written: No space left on device; free space" in str(end.exception)
    assert list_names(output.parent) == []


def test_torchscript_is_written_beside_and_its_hash_is_in_the_card(finished, output):
    end = distill(finished, output, "--trial", "pretrain/1", "--torchscript")
    assert end.exit_code == 0, end.output
    assert "leave as it is (as asked for): this is the pre-trained student" in end.stdout
    assert list_names(output.parent) == ["student.md", "student.pt", "student.safetensors"]
    assert "| student.pt | `" in output.with_suffix(".md").read_text("utf-8")


def test_accuracies_that_are_not_on_record_end_with_code_1(finished, output, monkeypatch):
    from kdopt.service import rerun

    run = rerun.Rerunner.run

    def run_otherwise(self, row):
        found = run(self, row)
        return found._replace(outcome=replace(found.outcome, epochs=99))

    monkeypatch.setattr(rerun.Rerunner, "run", run_otherwise)
    monkeypatch.setattr("kdopt.service.distill.find_kept", lambda *_: None)
    end = distill(finished, output, "--trial", "tune/0")
    assert end.exit_code == 1
    assert "not those on record, on the same kind of machine" in end.stderr
    assert Path(output).exists() and "| epochs | 1 | 99 |" in output.with_suffix(".md").read_text()
