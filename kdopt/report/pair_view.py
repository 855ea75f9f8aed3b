"""The page's last part: every pair in one table, and all about one pair, drawn when it is chosen.

What is drawn travels as bare numbers: hundreds of ready figures would make the page slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from kdopt.analysis.best_settings import Surface
from kdopt.analysis.method_gains import ClassScores
from kdopt.analysis.results import read_number, read_point
from kdopt.analysis.tables import Tables
from kdopt.campaign.settings import Campaign
from kdopt.outcome import Pair, TrialRow
from kdopt.report.blocks import SortCell, Table, sort_key, title_of
from kdopt.report.class_names import class_names
from kdopt.report.method_figures import style_of
from kdopt.report.tables import columns, points, with_labels


def pairs_table(best: pd.DataFrame) -> list[Table]:
    """All pairs with their best settings; a click on a pair shows it."""
    if best.empty:
        return []
    shown = columns(best)
    lines = []
    for pair, line in zip(pairs_of(best), with_labels(best).to_dict("records"), strict=True):
        title = title_of(pair.partition)
        first, *rest = [SortCell(c.text(line[c.key]), sort_key(line[c.key])) for c in shown]
        lines.append([SortCell(title, title), first._replace(pair=key_of(pair)), *rest])
    headings = ["Partition", *(column.heading for column in shown)]
    return [Table(f"Best settings of {len(best)} pairs", headings, lines)]


def pair_data(tables: Tables, best: pd.DataFrame, *, tuned: bool) -> dict[str, Any]:
    """What the page draws of each pair that has anything to draw.

    Returns:
        ``pairs``: by :func:`key_of` the surface, the history and the class accuracies;
        ``classes``: names in class order; ``methods``: label and colour by method.
    """
    scores = tables.class_scores
    found: dict[str, dict[str, Any]] = {}
    if tuned:
        groups, known = tables.results.tuned, tables.surfaces
        for pair, line in zip(pairs_of(best), best.to_dict("records"), strict=True):
            found[key_of(pair)] = {
                **_surface(known[pair], line),
                "history": _history(groups.get(pair, [])),
            }
    for pair, of_pair in scores.items():
        found.setdefault(key_of(pair), {})["scores"] = _scores(of_pair)
    n_classes = max((len(s.before) for s in scores.values()), default=0)
    methods = dict.fromkeys(method for s in scores.values() for method in s.after)
    return {
        "pairs": found,
        "classes": class_names(tables.campaign.data, n_classes),
        "methods": {m: [style_of(m).label, style_of(m).colour] for m in methods},
    }


def pair_options(keys: Iterable[str], campaign: Campaign) -> dict[str, list[tuple[str, str]]]:
    """Keys and labels of pairs to choose from, by the title of their partition."""
    order = [p.name for p in campaign.partitions]
    split = [(*key.rpartition("/")[::2], key) for key in keys]
    known = sorted(split, key=lambda x: (order.index(x[0]) if x[0] in order else len(order), *x))
    options: dict[str, list[tuple[str, str]]] = {}
    for partition, label, key in known:
        options.setdefault(title_of(partition), []).append((key, label))
    return options


def pairs_of(best: pd.DataFrame) -> list[Pair]:
    """The pairs of the best-settings table, line by line."""
    lines = zip(best["partition"], best["teacher"], best["student"], strict=True)
    return [Pair(str(p), int(t), int(s)) for p, t, s in lines]


def key_of(pair: Pair) -> str:
    """How figures and the page refer to a pair."""
    return f"{pair.partition}/{pair.label}"


def _surface(surface: Surface, line: Mapping[Any, Any]) -> dict[str, Any]:
    grid = bool(surface.temperatures)
    cells = [
        [c.temperature, c.alpha, _gain(c.validation_gain), _gain(c.test_gain)]
        for c in surface.points
    ]
    return {
        "temperatures": surface.temperatures,
        "alphas": surface.alphas,
        "validation": [[_gain(v) for v in row] for row in surface.validation_gain],
        "test": [[_gain(v) for v in row] for row in surface.test_gain],
        "points": [] if grid else cells,
        "selected": _cell(line["temperature"], line["alpha"]),
        "oracle": _cell(line["oracle_temperature"], line["oracle_alpha"]),
        "advice": line["advice"],
        "gains": [points(line[key]) for key in ("test_gain", "vanilla_gain", "oracle_gain")],
        "gap": points(line["accuracy_gap"]),
    }


def _history(rows: Iterable[TrialRow]) -> list[list[Any]]:
    """Number, temperature, alpha, validation and test gain of each finished trial, in order."""
    found = []
    for row in sorted(rows, key=lambda row: row.number):
        cell = read_point(row)
        if row.state in ("COMPLETE", "FAIL") and cell is not None:
            gains = (
                (read_number(row.outcome.validation_gain), read_number(row.outcome.test_gain))
                if row.outcome
                else (math.nan, math.nan)
            )
            found.append([row.number, *cell, *map(_gain, gains)])
    return found


def _scores(scores: ClassScores) -> dict[str, Any]:
    """Class accuracies in percent; the page shows tenths."""

    def short(values: Iterable[float | None]) -> list[float | None]:
        return [None if v is None else round(v, 2) for v in values]

    after = {method: short(values) for method, values in scores.after.items()}
    return {"before": short(scores.before), "after": after}


def _gain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 3) + 0.0


def _cell(temperature: float, alpha: float) -> list[float] | None:
    return None if math.isnan(temperature) else [temperature, alpha]
