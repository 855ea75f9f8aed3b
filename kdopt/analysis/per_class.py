"""What each class of the test set gains or loses in a pair, method by method."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.cells import Pair, cell_of, with_compared_vanilla
from kdopt.analysis.compare import TUNED
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS
from kdopt.outcome import Outcome, TrialRow

Accuracies = list[float | None]
"""By class, percent; ``None`` for a class without test images."""


class ClassScores(NamedTuple):
    """One pair on the student's own data, means over replicates.

    Attributes:
        before: The untouched student.
        after: The distilled student by method: ``tuned`` (the pair's selected cell), then the
            methods with fixed settings; methods without a result are left out.
    """

    before: Accuracies
    after: dict[str, Accuracies]


def class_scores(
    rows: Sequence[TrialRow], best: pd.DataFrame, campaign: Campaign
) -> dict[Pair, ClassScores]:
    """The class accuracies on test of every pair that has any; see also paper, Fig. 7.

    Learning is the mean over classes of the rises from before to after, forgetting that of the
    falls. Untuned distillation comes from the stage ``compare``, or else from the tuned study's
    vanilla cell, as in :func:`kdopt.analysis.compare.method_gains`.

    Args:
        rows: Trials of a campaign, in any state and order.
        best: The table of :func:`kdopt.analysis.maps.best_settings`, which knows the selected
            cells; it may be empty.
        campaign: What was planned.
    """
    groups = _outcomes(rows, _selected(best), campaign)
    found = {}
    for pair in sorted({pair for pair, _ in groups}):
        mine = {m: groups[pair, m] for m in (TUNED, *METHODS) if (pair, m) in groups}
        before = next(iter(mine.values()))
        found[pair] = ClassScores(
            _mean([o.test_before.per_class for o in before if o.test_before]),
            {method: _mean([o.test.per_class for o in these]) for method, these in mine.items()},
        )
    return found


def _selected(best: pd.DataFrame) -> dict[Pair, tuple[float, float]]:
    columns = ("partition", "teacher", "student", "temperature", "alpha")
    return {
        Pair(str(p), int(t), int(s)): (float(temperature), float(alpha))
        for p, t, s, temperature, alpha in zip(*(best[c] for c in columns), strict=True)
    }


def _outcomes(
    rows: Sequence[TrialRow], selected: dict[Pair, tuple[float, float]], campaign: Campaign
) -> dict[tuple[Pair, str], list[Outcome]]:
    vanilla = campaign.tune.vanilla_point
    compared: dict[tuple[Pair, str], list[Outcome]] = defaultdict(list)
    tuned: dict[tuple[Pair, str], list[Outcome]] = defaultdict(list)
    for row in with_compared_vanilla(rows, campaign.tune):
        outcome = row.outcome
        if row.state != "COMPLETE" or outcome is None or outcome.test_before is None:
            continue
        if row.teacher is None or row.student is None:
            continue
        pair = Pair(row.partition, row.teacher, row.student)
        if row.stage == "compare" and row.params.get("transfer_set") == "student":
            compared[pair, str(row.params.get("method"))].append(outcome)
        elif row.stage == "tune":
            cell = cell_of(row)
            if cell is not None and cell == selected.get(pair):
                tuned[pair, TUNED].append(outcome)
            if cell == vanilla:
                tuned[pair, "vanilla"].append(outcome)
    return {**tuned, **compared}


def _mean(scores: Sequence[Sequence[float | None]]) -> Accuracies:
    """Percent by class, over the replicates that have it."""
    means: Accuracies = []
    for values in zip(*scores, strict=False):
        known = [value for value in values if value is not None]
        means.append(100 * math.fsum(known) / len(known) if known else None)
    return means
