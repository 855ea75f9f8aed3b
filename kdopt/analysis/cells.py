"""The measured cells of each pair, replicates averaged, and which of them is the best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from kdopt.analysis.frame import number_or_nan
from kdopt.campaign.names import pair_label
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.studies import Params
from kdopt.outcome import TrialRow

GainName = Literal["validation_gain", "test_gain"]

# Gains are differences of floats: equal gains may differ in their last bits, and the mean of
# replicates surely does. Without rounding such noise, not the tie rule, would choose the cell.
TIE_DECIMALS = 9


class Pair(NamedTuple):
    """One tune study: who teaches whom, under which partition."""

    partition: str
    teacher: int
    student: int

    @property
    def label(self) -> str:
        """How people see it, such as ``t03-s07``."""
        return pair_label(self.teacher, self.student)


class CellMean(NamedTuple):
    """One measured (temperature, alpha) of a pair; gains are means over replicates, in pp.

    ``test_gain_sd`` is the sample standard deviation over replicates, NaN for a single one.
    """

    temperature: float
    alpha: float
    validation_gain: float
    test_gain: float
    replicates: int
    test_gain_sd: float = math.nan


def rows_by_pair(rows: Sequence[TrialRow]) -> dict[Pair, list[TrialRow]]:
    """The tune rows of every pair that has any, in any state."""
    groups: dict[Pair, list[TrialRow]] = defaultdict(list)
    for row in rows:
        if row.stage == "tune" and row.teacher is not None and row.student is not None:
            groups[Pair(row.partition, row.teacher, row.student)].append(row)
    return dict(groups)


def mean_cells(rows: Iterable[TrialRow]) -> list[CellMean]:
    """The complete cells of one pair's rows, sorted by temperature and alpha.

    A trial without gains (a damaged record) is left out rather than counted as zero.
    """
    gains: dict[tuple[float, float], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        cell, both = cell_of(row), _gains_of(row)
        if cell is not None and both is not None:
            gains[cell].append(both)
    means = []
    for cell, pairs in sorted(gains.items()):
        validation, test = zip(*pairs, strict=True)
        means.append(CellMean(*cell, _mean(validation), _mean(test), len(pairs), spread(test)))
    return means


def _gains_of(row: TrialRow) -> tuple[float, float] | None:
    """Validation and test gain of a complete trial that has both."""
    if row.state != "COMPLETE" or row.outcome is None:
        return None
    both = number_or_nan(row.outcome.validation_gain), number_or_nan(row.outcome.test_gain)
    return both if all(map(math.isfinite, both)) else None


def cell_of(row: TrialRow) -> tuple[float, float] | None:
    """Temperature and alpha of a row; ``None`` for an open trial that nobody claimed yet."""
    if "temperature" not in row.params or "alpha" not in row.params:
        return None
    return float(row.params["temperature"]), float(row.params["alpha"])


def best_cell(cells: Iterable[CellMean], gain: GainName, tune: TuneSettings) -> CellMean | None:
    """The cell of greatest gain, the first of :func:`ranked_cells`; ``None`` without a cell."""
    return next(iter(ranked_cells(cells, gain, tune)), None)


def ranked_cells(cells: Iterable[CellMean], gain: GainName, tune: TuneSettings) -> list[CellMean]:
    """The cells by gain, the best first: that of any subset is the first of it here.

    Only cells with the most replicates compete: in a campaign that is not finished, the luck of a
    cell measured once would win against the mean of one measured often.

    Among equal gains the cell nearest to vanilla wins, so that a tie never moves the advice away
    from the default: smaller ``|log(T / T_vanilla)|``, then smaller ``|alpha - alpha_vanilla|``,
    then smaller temperature, then smaller alpha.
    """

    def key(cell: CellMean) -> tuple[float, ...]:
        value = cell.validation_gain if gain == "validation_gain" else cell.test_gain
        return (
            -cell.replicates,
            -round(value, TIE_DECIMALS),
            round(abs(math.log(cell.temperature / tune.vanilla_temperature)), TIE_DECIMALS),
            round(abs(cell.alpha - tune.vanilla_alpha), TIE_DECIMALS),
            cell.temperature,
            cell.alpha,
        )

    return sorted(cells, key=key)


def vanilla_cell(cells: Iterable[CellMean], tune: TuneSettings) -> CellMean | None:
    """The untuned cell, if it was measured."""
    wanted = tune.vanilla_point
    return next((c for c in cells if (c.temperature, c.alpha) == wanted), None)


def with_compared_vanilla(rows: Sequence[TrialRow], tune: TuneSettings) -> list[TrialRow]:
    """The rows, and for each tuned pair the vanilla trials that only stage ``compare`` has.

    On the student's data they are the very trials that the tuned study would run at that cell
    (same seeds, same batches), so a search that spends none on it has that baseline and that
    candidate all the same. Vanilla gets no more replicates than another cell of the pair has: in a
    campaign that is not finished it must not win by their number.
    """
    vanilla = tune.vanilla_point
    compared: dict[Pair, dict[int, TrialRow]] = defaultdict(dict)
    for row in rows:
        here = (row.params.get("method"), row.params.get("transfer_set")) == ("vanilla", "student")
        if row.stage == "compare" and here and _gains_of(row) is not None:
            assert row.teacher is not None and row.student is not None
            pair = Pair(row.partition, row.teacher, row.student)
            compared[pair][int(row.params["replicate"])] = row
    known = list(rows)
    for pair, tuned in rows_by_pair(rows).items():
        mine = [r for r in tuned if cell_of(r) == vanilla and _gains_of(r) is not None]
        have = {int(row.params["replicate"]) for row in mine}
        if compared[pair].keys() <= have:
            continue
        most = max((cell.replicates for cell in mean_cells(tuned)), default=0)
        missing = sorted(compared[pair].keys() - have)[: max(0, most - len(have))]
        for replicate in missing:
            cell: Params = {"temperature": vanilla[0], "alpha": vanilla[1], "replicate": replicate}
            known.append(replace(compared[pair][replicate], stage="tune", params=cell))
    return known


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; NaN for fewer than two values. Order does not matter."""
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _mean(values: Sequence[float]) -> float:
    # fsum rounds once, so the mean does not depend on the order of the rows.
    return math.fsum(values) / len(values)
