"""Where tuning pays and where it is best not to distil, by partition and by kind of teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS
from kdopt.analysis.compare import teacher_kind
from kdopt.analysis.dynamics import KINDS
from kdopt.analysis.summary import OVERALL, RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import PLANNERS
from kdopt.outcome import TrialRow

EVERY_KIND = "all"
PAYOFF_COLUMNS = (
    "partition",
    "teacher_kind",
    "n",
    "against",
    "against_share",
    "guarded_gain",
    "guarded_low",
    "guarded_high",
    "compared",
    "beats_vanilla",
    "tuning_effect",
    "effect_low",
    "effect_high",
)
COST_COLUMNS = ("stage", "trials", "hours", "median_seconds", "p95_seconds")


def payoff(best: pd.DataFrame, campaign: Campaign, resamples: int = RESAMPLES) -> pd.DataFrame:
    """One line per partition (and one over all) and kind of teacher that has decided pairs.

    ``n`` counts the pairs with a result, ``against`` those advised against distilling (percent:
    ``against_share``); ``guarded_gain`` is the mean test gain (pp) of following the advice. Of
    the ``compared`` pairs whose vanilla cell is known too, ``beats_vanilla`` gain more by tuning,
    and ``tuning_effect`` is the mean of tuned minus vanilla (pp), both without the guard, on
    test. Means have 95 % bootstrap intervals over pairs, NaN for fewer than two.

    Args:
        best: The table of :func:`kdopt.analysis.maps.best_settings`.
        campaign: The campaign of the table; its seed seeds the bootstrap.
        resamples: Bootstrap samples, >= 1.
    """
    decided = best[best["advice"] != "undecided"]
    kinds = decided["accuracy_gap"].map(teacher_kind)
    scopes = [(OVERALL, decided)]
    scopes += [(str(p), decided[decided["partition"] == p]) for p in decided["partition"].unique()]
    lines = []
    for partition, table in scopes:
        for kind in (EVERY_KIND, *KINDS):
            pairs = table if kind == EVERY_KIND else table[kinds.loc[table.index] == kind]
            if len(pairs):
                generator = np.random.default_rng(
                    seed_for(campaign.seed, "payoff", partition, kind)
                )
                line = _line(pairs, generator, resamples)
                lines.append({"partition": partition, "teacher_kind": kind, **line})
    return pd.DataFrame(lines, columns=list(PAYOFF_COLUMNS))


def costs(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """What the complete trials of each stage cost: training hours, and seconds of one trial."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row.state == "COMPLETE" and row.outcome is not None:
            seconds.setdefault(row.stage, []).append(row.outcome.seconds)
    lines = [
        (stage, len(s), math.fsum(s) / 3600, *map(float, np.quantile(s, [0.5, 0.95])))
        for stage, s in ((name, seconds[name]) for name in PLANNERS if name in seconds)
    ]
    return pd.DataFrame(lines, columns=list(COST_COLUMNS))


def _line(
    pairs: pd.DataFrame, generator: np.random.Generator, resamples: int
) -> dict[str, float | int]:
    against = int((pairs["advice"] == "do not distil").sum())
    guarded = pairs["guarded_gain"].to_numpy(dtype=np.float64)
    # Rounded as ties among cells are: equal gains may differ in their last bits.
    effect = (pairs["test_gain"] - pairs["vanilla_gain"]).dropna().round(TIE_DECIMALS)
    guarded_interval = bootstrap_interval(guarded, generator, resamples)
    effect_interval = bootstrap_interval(effect.to_numpy(dtype=np.float64), generator, resamples)
    return {
        "n": len(pairs),
        "against": against,
        "against_share": 100 * against / len(pairs),
        "guarded_gain": math.fsum(guarded) / len(guarded),
        "guarded_low": guarded_interval[0],
        "guarded_high": guarded_interval[1],
        "compared": len(effect),
        "beats_vanilla": int((effect > 0).sum()),
        "tuning_effect": math.fsum(effect) / len(effect) if len(effect) else math.nan,
        "effect_low": effect_interval[0],
        "effect_high": effect_interval[1],
    }
