"""Paths and names that Python calls take: an empty text is no value of any of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

import kdopt
from kdopt import plugins
from kdopt.api.stores import OpenCampaign, OpenStore
from kdopt.errors import InputError, KdoptError

OTHERS: dict[str, object] = {
    "partition": "uniform",
    "teacher": 0,
    "student": 1,
    "train": ((), ()),
    "validation": ((), ()),
    "test": ((), ()),
    "space": {"a": [1.0]},
    "published": {"a": 1.0},
    "name": "mine",
}
"""What a call's other arguments are."""


class Taken(NamedTuple):
    """An argument that takes a text, a path, one of some words, or several of these.

    Attributes:
        function: Whose it is, by its name.
        call: It.
        owner: The class of what it is called on; ``None`` for a function of a module.
        name: Of the argument.
        takes_several: Whether it takes a list.
    """

    function: str
    call: Callable[..., object]
    owner: type | None
    name: str
    takes_several: bool


def list_functions() -> Iterator[tuple[str, Callable[..., object], type | None]]:
    """All that a script may call; trackers' own options are handed on to their integrations."""
    for module in (kdopt, plugins):
        for name in module.__all__:
            if inspect.isfunction(found := getattr(module, name)):
                yield f"{module.__name__}.{name}", found, None
    for owner in (OpenStore, OpenCampaign, kdopt.TunedPair):
        for name, found in vars(owner).items():
            if inspect.isfunction(found) and (name[0] != "_" or name == "__getitem__"):
                yield f"{owner.__name__}.{name}", found, owner


def list_texts() -> Iterator[Taken]:
    for function, call, owner in list_functions():
        for name, hint in inspect.get_annotations(call).items():
            is_text = any(kind in hint for kind in ("str", "Path", "Literal"))
            if is_text and name != "return" and not hint.startswith("Mapping"):
                yield Taken(function, call, owner, name, hint.startswith(("Iter", "Coll", "Seq")))


TEXTS = list(list_texts())


@pytest.fixture(scope="module")
def owners(finished_folder: Path) -> dict[type | None, object]:
    opened = kdopt.open(finished_folder / "kdopt.db")
    data = (torch.eye(4), torch.arange(4) % 2)
    models = nn.Linear(4, 2), nn.Linear(4, 2)
    sets = {"train": data, "validation": data, "test": data}
    best = kdopt.tune(*models, **sets, sampler="random", budget=1, epochs=1, progress=False)
    return {OpenStore: opened, OpenCampaign: opened["tiny"], kdopt.TunedPair: best}


def test_the_table_has_the_ways_in() -> None:
    names = {taken.function for taken in TEXTS}
    assert {"kdopt.open", "kdopt.tune", "kdopt.plugins.load_plugins"} <= names
    assert {"OpenCampaign.report", "OpenStore.pick", "TunedPair.surface"} <= names


@pytest.mark.parametrize("text", ["", "  "])
@pytest.mark.parametrize("taken", TEXTS, ids=lambda t: f"{t.function}-{t.name}")
def test_an_empty_text_is_no_value(
    taken: Taken,
    text: str,
    owners: dict[type | None, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = inspect.signature(taken.call).parameters.values()
    given = {p.name: OTHERS[p.name] for p in wanted if p.default is p.empty and p.name in OTHERS}
    own = [owners[taken.owner]] if taken.owner else []
    for value in [text, [text]] if taken.takes_several else [text]:
        with pytest.raises(InputError, match="an empty text is no value; give one"):
            taken.call(*own, **{**given, taken.name: value})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.best("unifrom"), "partition = 'unifrom': must be one of 'uniform'"),
        (lambda c: c.plot_map("unifrom"), "partition = 'unifrom': must be one of 'uniform'"),
        (lambda c: c.plot_map(kind="gains"), "kind = 'gains': must be one of 'alpha', "),
        (lambda c: c.surface("uniform", 0, 1, "train"), "on = 'train': must be one of 'validation"),
        (lambda c: c.load_study("uniform", 0, 1, "control"), "stage = 'control': must be one of"),
        (lambda c: c.load_study("uniform", 0, 9), "no study 'tiny/uniform/tune/t00-s09'; trials()"),
        (lambda c: c.load_study("uniform", 0, 1, method="dkd"), "no study 'tiny/uniform/tune/t00-"),
    ],
)
def test_a_name_that_is_not_there_is_refused(
    call: Callable[[OpenCampaign], object], message: str, owners: dict[type | None, object]
) -> None:
    campaign = owners[OpenCampaign]
    assert isinstance(campaign, OpenCampaign)
    with pytest.raises(KdoptError) as error:
        call(campaign)
    assert message in str(error.value)


def test_one_path_is_no_list_of_paths(tmp_path: Path) -> None:
    for path in ("mine.py", tmp_path / "mine.py"):
        with pytest.raises(InputError, match=r"must be a list of paths; write \['.*mine.py'\]"):
            plugins.load_plugins(path)  # type: ignore[arg-type]
