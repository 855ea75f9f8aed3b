"""Learning against forgetting of each method, with weak and strong teachers apart (Fig. 7)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from kdopt.analysis.summary import RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign

DYNAMICS_COLUMNS = (
    "partition",
    "teacher_kind",
    "method",
    "n",
    "learning",
    "learning_low",
    "learning_high",
    "forgetting",
    "forgetting_low",
    "forgetting_high",
)
KINDS = ("weak", "similar", "strong")


def learning_and_forgetting(
    gains: pd.DataFrame, campaign: Campaign, transfer_set: str = "student"
) -> pd.DataFrame:
    """Mean learning and forgetting (pp, test), one line per partition, kind and method.

    The paper's figure shows weak and strong teachers; those within the band are a kind of their
    own here, so that no pair is dropped silently. Intervals are 95 % bootstrap over pairs.
    """
    known = gains[(gains["transfer_set"] == transfer_set)].dropna(subset=["learning", "forgetting"])
    lines: list[dict[str, object]] = []
    for partition in known["partition"].unique():
        for kind in KINDS:
            chosen = known[(known["partition"] == partition) & (known["teacher_kind"] == kind)]
            for method, table in chosen.groupby("method", sort=False):
                line: dict[str, object] = {
                    "partition": partition,
                    "teacher_kind": kind,
                    "method": method,
                    "n": len(table),
                }
                for key in ("learning", "forgetting"):
                    values = table[key].to_numpy(dtype=np.float64)
                    seed = seed_for(campaign.seed, key, str(partition), kind, str(method))
                    low, high = bootstrap_interval(values, np.random.default_rng(seed), RESAMPLES)
                    mean = math.fsum(values) / len(values)
                    line |= {key: mean, f"{key}_low": low, f"{key}_high": high}
                lines.append(line)
    return pd.DataFrame(lines, columns=list(DYNAMICS_COLUMNS))
