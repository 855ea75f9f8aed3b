"""Campaigns of seconds, from the text of a file to a store: what several folders of tests plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store

SMALL: dict[str, object] = {
    "name": "tiny",
    "participants": 2,
    "model": "mlp",
    "partitions": ["uniform"],
    "stages": ["tune"],
    "precision": "fp32",
    "data": {"name": "digits", "validation_fraction": 0.2},
    "pretrain": {"epochs": 1, "patience": 0},
    "distill": {"epochs": 1, "patience": 0},
    "tune": {"temperatures": [1], "alphas": [0.5]},
}
"""Digits in two uniform shares, one epoch of everything and one cell of each pair."""
FEW_PUBLIC = {
    "public_unlabeled_small": 32,
    "public_unlabeled_large": 64,
    "public_labeled": 32,
}
"""Public sets that leave the participants nearly all images."""


class Planned(NamedTuple):
    """A store with a campaign, its artifacts, and the store's file."""

    store: Store
    artifacts: Artifacts
    path: Path


def make_spec(participant: Sequence[Mapping[str, object]] = (), **changes: object) -> str:
    """The text of a campaign file: ``SMALL``, changed.

    Args:
        participant: Participants by name: a table of each.
        changes: Values of the top level by name. A mapping changes single settings of a table. None
            leaves a value or a whole table out.
    """
    values = dict(SMALL)
    for name, change in changes.items():
        before = values.get(name, {})
        merge = isinstance(change, Mapping) and isinstance(before, Mapping)
        values[name] = {**before, **change} if merge else change  # type: ignore[dict-item]
    values = {name: value for name, value in values.items() if value is not None}
    # A value behind a table would be the table's: the values of the top level come first.
    lines = [_write_value(n, v) for n, v in values.items() if not isinstance(v, Mapping)]
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"[{name}]", *_write_table(value)]
    for table in participant:
        lines += ["[[participant]]", *_write_table(table)]
    return "\n".join([*lines, ""])


def plan_text(text: str, folder: Path, place: str | Path | None = None) -> Planned:
    """Plan a campaign in the folder's store; its artifacts lie beside it, or in another place."""
    # torch takes seconds, and most of those who plan nothing read this module's texts.
    from kdopt.campaign.spec import parse_spec
    from kdopt.data.datasets import load_dataset
    from kdopt.service.planner import draw_splits, plan_campaign

    spec, path = parse_spec(text), folder / "kdopt.db"
    store, artifacts = open_store(str(path), create=True), Artifacts(place or folder / "artifacts")
    dataset = load_dataset(spec.campaign)
    plan_campaign(spec, dataset, draw_splits(spec.campaign, dataset), store, artifacts)
    return Planned(store, artifacts, path)


def run_campaign(text: str, folder: Path) -> Planned:
    """Plan and run a campaign in a folder of its own, in this process."""
    from kdopt.campaign.spec import parse_spec
    from kdopt.train.engine import make_engine
    from kdopt.worker.worker import run_trials

    made = plan_text(text, folder)
    name = parse_spec(text).campaign.name
    assert not run_trials(made.store, made.artifacts, name, make_engine("fp32", "cpu")).failed
    return made


def _write_table(table: Mapping[str, object]) -> list[str]:
    return [_write_value(key, value) for key, value in table.items() if value is not None]


def _write_value(name: str, value: object) -> str:
    return f"{name} = {json.dumps(value)}"  # numbers, texts and lists are the same in both
