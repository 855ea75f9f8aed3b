"""Training sets as a file: the lessons that come with kdopt.

They are what :func:`kdopt.advice.training_set.build_training_set` makes of some campaigns of
``studies/`` in every situation, and may be of several data sets; ``scripts/few_trials.py`` writes
them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from importlib.resources import files

import numpy as np
import pandas as pd

from kdopt.advice.training_set import Action, Situation, TrainingSet
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.table import PAIR_COLUMNS

SHIPPED_LESSONS = "shipped.json"
COMES_WITH = " (comes with kdopt)"
"""Follows the names of their campaigns, which a store may have, too."""

NAME_COLUMNS = (*PAIR_COLUMNS, "transfer_set", "family")
DECIMALS = 4
"""Digits that are kept. Gains are shares of a few hundred images, in pp."""


def write_lessons(training_sets: Iterable[TrainingSet]) -> bytes:
    """JSON, one line per pair; :func:`read_lessons` reads it back.

    Gains of a pair are listed in the order of the actions, on validation and on test; features in
    the order of the head, ``null`` where one is not known.
    """
    parts = []
    for found in training_sets:
        head = {"situation": found.situation, "actions": found.actions}
        lines = [
            json.dumps(
                {
                    "pair": [line[key] for key in NAME_COLUMNS],
                    "features": [_round_value(line[name]) for name in FEATURE_NAMES],
                    "validation": [_round_value(gain) for gain in validation],
                    "test": [_round_value(gain) for gain in test],
                },
                separators=(",", ":"),
            )
            for line, validation, test in zip(
                found.pairs.to_dict("records"), found.validation, found.test, strict=True
            )
        ]
        parts.append(json.dumps(head)[:-1] + ',"pairs":[\n' + ",\n".join(lines) + "\n]}")
    names = json.dumps({"names": NAME_COLUMNS, "features": FEATURE_NAMES})[:-1]
    return (names + ',"sets":[\n' + ",\n".join(parts) + "\n]}\n").encode()


def read_lessons(content: bytes) -> dict[Situation, TrainingSet]:
    """Read what :func:`write_lessons` wrote. Features that this version does not know are lost."""
    record = json.loads(content)
    names = [*record["names"], *record["features"]]
    found: dict[Situation, TrainingSet] = {}
    for part in record["sets"]:
        lines = [[*p["pair"], *p["features"]] for p in part["pairs"]]
        frame = pd.DataFrame(lines, columns=names).reindex(columns=[*NAME_COLUMNS, *FEATURE_NAMES])
        frame = frame.astype(dict.fromkeys(FEATURE_NAMES, float))
        validation, test = (
            np.array([p[key] for p in part["pairs"]], dtype=np.float64)
            for key in ("validation", "test")
        )
        actions = tuple(Action(*action) for action in part["actions"])
        found[part["situation"]] = TrainingSet(part["situation"], actions, frame, validation, test)
    return found


def load_shipped_lessons() -> dict[Situation, TrainingSet]:
    """The lessons that come with kdopt, by situation."""
    return read_lessons(files(__package__).joinpath(SHIPPED_LESSONS).read_bytes())


def _round_value(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), DECIMALS)
