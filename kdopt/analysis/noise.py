"""The noise floor: how much the gain of one and the same cell varies between replicates.

Replicates differ in the order of the batches only, so this is the noise of training, not that of
pre-training or of drawing the test set. Differences well below it mean nothing for one pair.
Stages and cells that start from random weights are left out: their replicates differ in more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from kdopt.analysis.frame import number_or_nan
from kdopt.outcome import TrialRow

NOISE_COLUMNS = ("stage", "partition", "sd", "cells", "trials")


def noise_floor(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """Standard deviation of the test gain (pp) over replicates, pooled over cells.

    One line per stage and partition that has a cell with two replicates or more: the root of the
    summed squared deviations over the summed degrees of freedom. Empty without replicates.
    """
    cells: dict[tuple[str, str, str, tuple[tuple[str, object], ...]], list[float]]
    cells = defaultdict(list)
    for row in rows:
        if row.stage in ("pretrain", "federate"):
            continue
        if row.state != "COMPLETE" or row.outcome is None:
            continue
        gain = number_or_nan(row.outcome.test_gain)
        if math.isfinite(gain):
            cell = tuple(sorted((k, v) for k, v in row.params.items() if k != "replicate"))
            cells[row.stage, row.partition, row.study, cell].append(gain)
    groups: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for (stage, partition, _, _), gains in cells.items():
        if len(gains) > 1:
            groups[stage, partition].append(gains)
    lines = []
    for (stage, partition), repeated in sorted(groups.items()):
        squares = math.fsum(_squares(gains) for gains in repeated)
        trials = sum(map(len, repeated))
        sd = math.sqrt(squares / (trials - len(repeated)))
        lines.append((stage, partition, sd, len(repeated), trials))
    return pd.DataFrame(lines, columns=list(NOISE_COLUMNS))


def _squares(gains: Sequence[float]) -> float:
    mean = math.fsum(gains) / len(gains)
    return math.fsum((gain - mean) ** 2 for gain in gains)
