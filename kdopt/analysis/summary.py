"""Headline numbers: what vanilla, tuning, the guard and the oracle gain, with intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign

RESAMPLES = 2000
OVERALL = "all partitions"
SUMMARY_COLUMNS = ("partition", "measure", "label", "unit", "value", "low", "high", "n")


class Measure(NamedTuple):
    """One headline number: its name, how people read it and its unit."""

    name: str
    label: str
    unit: str


def measures(campaign: Campaign) -> list[Measure]:
    """The headline measures, labelled by the set that really selected the cells."""
    by = selection_label(campaign)
    guard = f"guard on {campaign.select_on}"
    return [
        Measure("vanilla_gain", f"Vanilla ({vanilla_label(campaign)})", "pp"),
        Measure("test_gain", f"Tuned, {by}", "pp"),
        Measure("tuning_effect", "Tuned minus vanilla", "pp"),
        Measure("guarded_vanilla_gain", f"Vanilla, {guard}", "pp"),
        Measure("guarded_gain", f"Tuned, {by}, {guard}", "pp"),
        Measure("oracle_gain", "Oracle without guard, selected on test (optimistic)", "pp"),
        Measure("beats_vanilla", "Pairs where tuning beats vanilla on test", "%"),
        Measure("advised_against", "Pairs advised against distilling", "%"),
        Measure("trials_used", "Complete tune trials", "trials"),
    ]


def selection_label(campaign: Campaign) -> str:
    """How the reported cells were chosen; selection on test says that it is optimistic."""
    if campaign.select_on == "test":
        return "selected on test (optimistic)"
    return "selected on validation"


def vanilla_label(campaign: Campaign) -> str:
    """The untuned setting as people read it."""
    return f"T={campaign.tune.vanilla_temperature:g}, alpha={campaign.tune.vanilla_alpha:g}"


def summary(best: pd.DataFrame, campaign: Campaign, resamples: int = RESAMPLES) -> pd.DataFrame:
    """One line per partition (and one set of lines over all) and measure.

    All measures of a scope are means over the same ``n`` pairs, those in which both the selected
    and the vanilla cell are known, so that they can be compared. ``low`` and ``high`` bound the
    95 % percentile bootstrap interval over pairs (NaN for fewer than two pairs); it takes pairs
    as independent, although pairs share teachers and students, so it is rather too narrow. The
    measure ``trials_used`` counts the complete tune trials of all pairs and has no interval.

    Args:
        best: The table of :func:`kdopt.analysis.maps.best_settings`.
        campaign: The campaign of the table; its seed seeds the bootstrap.
        resamples: Bootstrap samples, >= 1.
    """
    scopes = [(OVERALL, best)]
    scopes += [(name, best[best["partition"] == name]) for name in best["partition"].unique()]
    lines: list[tuple[object, ...]] = []
    for scope, table in scopes:
        pairs = _comparable(table)
        for measure in measures(campaign):
            if measure.name == "trials_used":
                used = float(table["trials_done"].sum())
                lines.append((scope, *measure, used, math.nan, math.nan, len(table)))
                continue
            values = _values(pairs, measure.name)
            seed = seed_for(campaign.seed, "summary", scope, measure.name)
            low, high = bootstrap_interval(values, np.random.default_rng(seed), resamples)
            mean = math.fsum(values) / len(values) if len(values) else math.nan
            lines.append((scope, *measure, mean, low, high, len(values)))
    return pd.DataFrame(lines, columns=list(SUMMARY_COLUMNS))


def bootstrap_interval(
    values: npt.NDArray[np.float64], generator: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of ``values`` (shape: pairs)."""
    if len(values) < 2:
        return math.nan, math.nan
    drawn = generator.integers(0, len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _comparable(table: pd.DataFrame) -> pd.DataFrame:
    # Where vanilla was never run (an adaptive sampler), the other measures still stand.
    known = table[table["test_gain"].notna()]
    return known if known["vanilla_gain"].isna().all() else known[known["vanilla_gain"].notna()]


def _values(pairs: pd.DataFrame, measure: str) -> npt.NDArray[np.float64]:
    if measure == "tuning_effect":
        column = pairs["test_gain"] - pairs["vanilla_gain"]
    elif measure == "beats_vanilla":
        # Rounded as ties among cells are: equal gains may differ in their last bits.
        effect = (pairs["test_gain"] - pairs["vanilla_gain"]).round(TIE_DECIMALS)
        column = 100.0 * (effect > 0)
        column = column[pairs["vanilla_gain"].notna()]
    elif measure == "advised_against":
        column = 100.0 * (pairs["advice"] == "do not distil")
    else:
        column = pairs[measure]
    return column.dropna().to_numpy(dtype=np.float64)
