"""Artifacts that Hypothesis makes: each kind has one reader, which gives values or refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
from hypothesis import given
from hypothesis import strategies as st

from kdopt.data.datasets import read_dataset
from kdopt.data.given_logits import GivenLogits, pack_logits, parse_logits
from kdopt.data.splits import make_splits, pack_splits, parse_splits
from kdopt.errors import ArtifactError, KdoptError
from kdopt.outcome import StudentFacts
from kdopt.search.prior import Prior, load_shipped_prior
from kdopt.train.models import make_model
from kdopt.train.students import pack_student, read_student
from kdopt.train.weights import parse_weights
from tests.conftest import make_campaign
from tests.hostile.generated import FEW, spoil_bytes, spoil_json

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

MODEL = make_model("cnn", (1, 8, 8), 10)
CAMPAIGN = make_campaign()
IMAGES = read_dataset(CAMPAIGN.data, CAMPAIGN.seed)
SPLITS = pack_splits(make_splits(CAMPAIGN, "uniform", IMAGES.train_labels, 10))
PRIOR = load_shipped_prior().to_bytes()
LOGITS = GivenLogits(
    *(
        np.zeros((len(labels), 10), np.float32)
        for labels in (IMAGES.train_labels, IMAGES.test_labels)
    )
)
NUMBERS = st.sampled_from([0, -1, 1, 7, 10**9, -(2**62), math.nan, math.inf, 1e300])
TYPES = st.sampled_from(["int8", "int64", "uint8", "float16", "float32", "float64", "bool"])


@st.composite
def spoil_arrays(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file with an array less or more, of another type or shape, or with a number."""
    arrays = safetensors.numpy.load(content)
    name = draw(st.sampled_from(sorted(arrays)))
    how = draw(st.sampled_from(["drop", "rename", "type", "shape", "number", "bytes", "more"]))
    if how == "bytes":
        return draw(spoil_bytes(content))
    array = arrays.pop(name)
    if how == "rename":
        arrays[draw(st.text("ab.0", max_size=9))] = array
    elif how == "more":
        arrays |= {name: array, draw(st.text("ab.0", max_size=9)): array}
    elif how == "type":
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(draw(TYPES))
    elif how == "shape":
        array = np.atleast_1d(array)
        arrays[name] = draw(st.sampled_from([array[:1], array[..., :0], array.reshape(1, -1)]))
    elif how == "number" and array.size:
        spoiled = array.copy().reshape(-1)
        with np.errstate(all="ignore"):
            wide = np.array([draw(NUMBERS)]).astype(spoiled.dtype)
        spoiled[draw(st.integers(0, spoiled.size - 1))] = wide[0]
        arrays[name] = spoiled.reshape(array.shape)
    return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})


def read(parse: Callable[[bytes], object], content: bytes, good: bytes) -> object:
    """What a reader makes of a file; it refuses only what kdopt has not written."""
    try:
        return parse(content)
    except ArtifactError as error:
        assert content != good and 5 < len(str(error)) < 1500, str(error)
        return None


WEIGHTS = safetensors.torch.save(MODEL.state_dict())


@FEW
@given(content=st.just(WEIGHTS) | spoil_arrays(WEIGHTS))
def test_weights_are_the_models_or_refused(content: bytes) -> None:
    state: Any = read(lambda c: parse_weights(c, MODEL.state_dict()), content, WEIGHTS)
    if state is not None:
        MODEL.load_state_dict(state)
        assert all(value.isfinite().all() for value in state.values())


GOOD_SPLITS = safetensors.numpy.save(SPLITS)


@FEW
@given(content=st.just(GOOD_SPLITS) | spoil_arrays(GOOD_SPLITS))
def test_splits_are_the_campaigns_or_refused(content: bytes) -> None:
    n_images = len(IMAGES.train_labels)
    splits: Any = read(lambda c: parse_splits(c, CAMPAIGN, n_images), content, GOOD_SPLITS)
    if splits is not None:
        used = np.concatenate([*splits.train, splits.validation])
        assert len(set(used.tolist())) == len(used) and 0 <= used.min() <= used.max() < n_images


@FEW
@given(data=st.data())
def test_priors_are_whole_or_refused(data: st.DataObject) -> None:
    make = st.just(PRIOR) | spoil_json(PRIOR.decode()).map(str.encode) | spoil_bytes(PRIOR)
    try:
        prior = Prior.from_bytes(data.draw(make))
    except KdoptError as error:
        assert len(str(error)) < 2000
    else:
        Prior.from_bytes(prior.to_bytes())


GOOD_LOGITS = pack_logits(LOGITS)


@FEW
@given(content=st.just(GOOD_LOGITS) | spoil_arrays(GOOD_LOGITS))
def test_logits_are_of_the_images_or_refused(content: bytes) -> None:
    found: Any = read(lambda c: parse_logits(c, IMAGES), content, GOOD_LOGITS)
    if found is not None:
        assert not any(np.isinf(rows).any() for rows in found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("students")


FACTS = StudentFacts(
    trial="tiny/uniform/tune/t00-s01 #0",
    model="cnn",
    shape=(1, 8, 8),
    classes=tuple("0123456789"),
    mean=(0.5,),
    std=(0.5,),
    precision="fp32",
    test_accuracy=0.5,
    test_images=100,
)
STUDENT = pack_student(MODEL, FACTS)


@FEW
@given(data=st.data())
def test_a_students_file_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        facts = data.draw(spoil_json(json.dumps(dataclasses.asdict(FACTS))))
        content = safetensors.torch.save(MODEL.state_dict(), {"kdopt": facts})
    else:
        content = data.draw(spoil_bytes(STUDENT) | spoil_arrays(STUDENT))
    (folder / "student.safetensors").write_bytes(content)
    try:
        student = read_student(folder / "student.safetensors")
    except KdoptError as error:
        assert len(str(error)) < 2000
        return
    assert len(student.facts.classes) == 10
