"""A student's file holds all that is needed to use it, and nothing that runs."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import safetensors.torch
import torch

from kdopt.campaign.participants import Architecture
from kdopt.errors import KdoptError
from kdopt.outcome import StudentFacts
from kdopt.train.adapted import build_model
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.evaluation import predict_logits
from kdopt.train.models import make_model
from kdopt.train.students import (
    HEADER_KEY,
    export_onnx,
    export_torchscript,
    pack_student,
    parse_student,
    read_student,
)

FACTS = StudentFacts(
    "c/u/tune/t00-s01 #3", "cnn", (1, 8, 8), ("a", "b", "c"), (0.3,), (0.4,), "fp32", 0.5, 20
)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)


@pytest.fixture(scope="module")
def model():
    with seeded(0, torch.device("cpu")):
        made = make_model("cnn", FACTS.shape, len(FACTS.classes))
        made.train()(torch.randn(16, 1, 8, 8))  # statistics of batch norm that are no defaults
    return made.eval()


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "student.safetensors"
    path.write_bytes(pack_student(model, FACTS))
    return path


def compute_logits(model):
    images = Images(
        torch.from_numpy(IMAGES), torch.zeros(20, dtype=torch.int64), FACTS.mean, FACTS.std
    )
    return predict_logits(model, images, make_engine("fp32", "cpu"))


def normalise():
    return (torch.from_numpy(IMAGES).float() / 255 - FACTS.mean[0]) / FACTS.std[0]


def test_a_student_comes_back_with_its_facts_and_gives_the_same_bits(model, path):
    student = read_student(path)
    assert student.facts == FACTS
    assert torch.equal(student.predict_logits(IMAGES), compute_logits(model))
    assert torch.equal(student.predict(IMAGES[:, 0]), compute_logits(model).argmax(dim=1))
    assert torch.allclose(student.model(normalise()), compute_logits(model), atol=1e-5)


def test_a_participants_own_module_loads_its_student_and_older_files_are_read(path):
    kind = Architecture("cnn", ("c", "a", "b"), 12, 3, (0.5,) * 3, (0.2,) * 3)
    facts = replace(FACTS, architecture=kind)
    with seeded(1, torch.device("cpu")):
        adapted = build_model(kind, FACTS.shape, FACTS.classes, FACTS.mean, FACTS.std).eval()
    expected = compute_logits(make_engine("fp32", "cpu").move(adapted))
    path.write_bytes(pack_student(adapted, facts))
    own = make_model("cnn", (3, 12, 12), 3)
    own.load_state_dict(safetensors.torch.load_file(path))
    assert torch.equal(read_student(path).predict_logits(IMAGES), expected)
    _assert_same_weights(parse_student(path.read_bytes(), adapted.state_dict()), adapted)

    header = {HEADER_KEY: json.dumps(asdict(facts))}
    outer = {name: value.contiguous() for name, value in adapted.state_dict().items()}
    safetensors.torch.save_file(outer, path, header)
    assert set(outer) == {f"model.{name}" for name in own.state_dict()}
    assert torch.equal(read_student(path).predict_logits(IMAGES), expected)
    _assert_same_weights(parse_student(path.read_bytes(), adapted.state_dict()), adapted)
    # A plain model is stored as it is.
    _assert_same_weights(parse_student(pack_student(own, FACTS), own.state_dict()), own)


def _assert_same_weights(found, model):
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    "images", [IMAGES.astype(np.float32), IMAGES[:, :, :7], np.repeat(IMAGES, 3, axis=1)]
)
def test_other_images_are_refused_with_what_it_takes(path, images):
    with pytest.raises(KdoptError, match=r"this student takes uint8 \(n, 1, 8, 8\)"):
        read_student(path).predict(images)


def test_what_is_no_student_is_refused(model, path):
    state = model.state_dict()
    cases = {
        "no such file": None,
        "not a file that 'kdopt distill' wrote": b"nothing",
        "not a file that 'kdopt distill' wrote .'kdopt'": safetensors.torch.save(state),
        "not a file that 'kdopt distill' wrote .classes: missing": safetensors.torch.save(
            state, {HEADER_KEY: "{}"}
        ),
        "what its header says of images and classes cannot be": pack_student(
            model, replace(FACTS, shape=(1, 8, 10**9))
        ),
        "which the model has; use the kdopt and torchvision": pack_student(
            torch.nn.Linear(2, 2), FACTS
        ),
    }
    for expected, content in cases.items():
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(KdoptError, match=expected):
            read_student(path)


def test_torchscript_computes_the_same_for_any_number_of_images(model, tmp_path):
    export_torchscript(model, FACTS.shape, tmp_path / "s.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces its end
        loaded = torch.jit.load(tmp_path / "s.pt")
    assert torch.allclose(loaded(normalise()), compute_logits(model), atol=1e-5)


def test_onnx_computes_the_same_for_any_number_of_images(model, tmp_path):
    pytest.importorskip("onnxscript", reason="ONNX IS NOT TESTED: pip install 'kdopt[dev]'")
    runtime = pytest.importorskip("onnxruntime")
    export_onnx(model, FACTS.shape, tmp_path / "s.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["s.onnx"]
    session = runtime.InferenceSession(tmp_path / "s.onnx")
    (logits,) = session.run(None, {"images": normalise().numpy()})
    assert np.allclose(logits, compute_logits(model).numpy(), atol=1e-4)


@pytest.mark.parametrize("export", [export_onnx, export_torchscript])
def test_a_model_that_cannot_be_exported_is_one_message(export, tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, images):
            raise TypeError("odd")

    if export is export_onnx:
        pytest.importorskip("onnxscript")
    with pytest.raises(KdoptError, match=r"cannot be written as .*; write the weights alone"):
        export(Odd(), FACTS.shape, tmp_path / "s")


def test_onnx_that_is_not_installed_is_said_with_the_line_that_installs_it(
    model, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(KdoptError, match=r"pip install 'kdopt\[onnx\]'"):
        export_onnx(model, FACTS.shape, tmp_path / "s.onnx")
