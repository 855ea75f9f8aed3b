"""What to do with each pair: verdicts, what was tried, and all that the page draws of one pair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.best_settings import Surface
from kdopt.analysis.method_gains import ClassScores
from kdopt.analysis.results import Line, index_lines, list_pairs, read_number, read_point
from kdopt.analysis.tables import list_name_columns
from kdopt.analysis.tuning import describe_selection
from kdopt.analysis.verdicts import (
    ERROR_RATE,
    VERDICTS,
    Candidate,
    Candidates,
    PairVerdict,
    list_candidates,
)
from kdopt.campaign.settings import Campaign
from kdopt.outcome import TrialRow
from kdopt.report.blocks import (
    Block,
    Grid,
    GridCell,
    ReportData,
    Section,
    Table,
    make_pair_key,
    make_tables,
)
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import (
    format_frame,
    format_points,
    format_signed,
    format_transfer_set,
    includes_zero,
    name_classes,
    title_partitions,
)
from kdopt.report.plotting import format_method, get_method_style
from kdopt.report.sections.best_settings import list_columns
from kdopt.report.setting_maps import add_labels
from kdopt.report.verdict_text import (
    describe_advice,
    describe_effect,
    describe_full_setting,
    describe_tuning,
    describe_verdict,
    give_reason,
    is_cell,
)
from kdopt.shown import format_count

ACTION_ORDER: Sequence[PairVerdict] = ("distil", "train on", "leave as it is", "undecided")

VERDICT_NOTE = (
    "The simplest option, unless a more complex one is measurably better on validation: leave the "
    "student as it is, train it on without a teacher, or distil. Test images have no part in it: "
    "accuracies and gains on test only report. A verdict that names no images is on the student's "
    "own data. t02-s00 is teacher 2 with student 0; click a pair, here or in a figure, to see "
    "all about it below."
)

METHOD_NOTE = (
    "Models are compared image by image, and the chances count how many were tried: of a pair in "
    "which nothing helps, another verdict than to leave it comes out in "
    f"{100 * ERROR_RATE:g} % of cases. The net gain is what "
    "is left of a gain beyond training on without a teacher; its 95 % interval is over other test "
    "images."
)


UNTOUCHED = ("", "")
"""Method and image set of the student that is left as it is."""


def make_verdict_tables(data: ReportData) -> list[Table]:
    """What to do with every pair, what it brings, and how sure that is; a link in each line.

    Pairs to distil stand first, those that gain most by their teacher before the others.
    """
    table, results = data.tables.verdicts, data.tables.results
    taught = table["action"] == "distil"
    # Of a student that no teacher trains a net gain of 0 would look measured.
    table = table.assign(net_gain=table["net_gain"].where(taught))
    order = sorted(table.to_dict("records"), key=_rank_line)
    table = pd.DataFrame(order, columns=table.columns)
    pairs = list_pairs(table)
    shown = table.assign(
        pair=[pair.label for pair in pairs],
        action=[describe_verdict(line) for line in order],
        accuracy_gap=[results.describe_gap(pair)["accuracy_gap"] for pair in pairs],
    )
    net = Column("net_gain", "Net gain of the verdict (pp)", lambda x: format_points(x) or "\u2013")
    columns: Columns = [
        *("partition", "pair", *list_name_columns(table)),
        *("action", "accuracy_before", "accuracy_after"),
        IntervalColumn(net, "net_", "not recorded", "other test images"),
        *("chance_over_leaving", "chance_over_training"),
        Column("test_gain", "Gain of the verdict (pp)"),
        # Not "Control" alone: that of best settings is on the student's own data.
        Column("control_gain", "Control on the same images (pp)"),
        *("validation_gain", "temperature", "alpha", "accuracy_gap"),
    ]
    tables = make_tables(f"Verdicts on {format_count(len(table), 'pair')}", columns, shown)
    for made in tables:
        ends = zip(shown["net_low"], shown["net_high"], strict=True)
        place = made.headings.index(net.heading) + 1
        for pair, (low, high), line in zip(pairs, ends, made.lines, strict=True):
            line[1] = line[1]._replace(pair=make_pair_key(pair))
            if includes_zero(low, high):
                line[place] = line[place]._replace(below="includes 0 on test")
    return tables


def _rank_line(line: Line) -> tuple[int, float]:
    gain = line["test_gain"] if math.isnan(line["net_gain"]) else line["net_gain"]
    return ACTION_ORDER.index(line["action"]), math.inf if math.isnan(gain) else -gain


def make_counts_grid(table: pd.DataFrame) -> Grid:
    """Pairs by partition and verdict, with the mean test gain and net gain of each group."""
    actions = [action for action in VERDICTS if action != "undecided"]
    lines = []
    titles = title_partitions(table["partition"])
    for partition, pairs in table.groupby("partition", sort=False):
        cells = []
        for action in actions:
            here = pairs[pairs["action"] == action]
            gain, net = (here[key].mean() for key in ("test_gain", "net_gain"))
            below = f"{format_signed(gain)} pp" if len(here) else ""
            if action == "distil" and len(here) and not pd.isna(net):
                below += f", net {format_signed(net)}"
            cells.append(GridCell(str(len(here)), below))
        lines.append((titles[str(partition)], cells))
    headings = [[(action.capitalize(), 1) for action in actions]]
    return Grid(
        "Partition", headings, lines, "Pairs; below, their mean gain on test by the verdict."
    )


class TriedNames(NamedTuple):
    """The numbers that stand for methods and image sets in the lines of all pairs of a page."""

    methods: dict[str, int]
    sets: dict[str, int]


def collect_tried(
    line: Line, found: Candidates, names: TriedNames, campaign: Campaign
) -> dict[str, Any]:
    """What was tried with a pair's student, as the page lists it.

    Args:
        line: The pair's line of the table of verdicts.
        found: What was tried; of each method on each image set the best on validation is kept.
        names: Those of the page, which grow.
        campaign: What methods of stage ``compare`` ran with.

    Returns:
        ``tried``: what was done and on which images (numbers of ``names``), the setting, and the
        gains on validation and test, the best on validation first. ``chosen``: the place of the
        verdict, which is always among them; none before there is one. ``cell``: the mark of the
        verdict on the map of temperature and alpha, if it is there.
    """
    kept: dict[tuple[str, str], Candidate] = {}
    for candidate in (*found.trained, *found.distilled):
        kept.setdefault((candidate.method, candidate.transfer_set), candidate)
    vanilla, tuned = (kept.get((method, "student")) for method in ("vanilla", "tuned"))
    selects_vanilla = vanilla is not None and tuned is not None and vanilla.rank < tuned.rank
    if selects_vanilla:
        # The search selects vanilla's cell: another one called tuned would contradict the map.
        del kept["tuned", "student"]
    lines = {UNTOUCHED: (0.0, 0.0, "")} | {
        key: (c.validation_gain, c.test_gain, describe_full_setting(c, campaign))
        for key, c in kept.items()
    }
    if selects_vanilla:
        gains = lines["vanilla", "student"]
        lines["vanilla", "student"] = (*gains[:2], f"{gains[2]}, which is the tuned cell")
    keys = sorted(lines, key=lambda key: -lines[key][0])
    shown: dict[str, Any] = {"tried": [_make_line(key, *lines[key], names) for key in keys]}
    if line["action"] != "undecided":
        shown["chosen"] = keys.index((str(line["method"]), str(line["transfer_set"])))
    return shown | ({"cell": line["method"]} if is_cell(line) else {})


def _make_line(
    key: tuple[str, str], validation: float, test: float, setting: str, names: TriedNames
) -> list[Any]:
    method, images = key
    done = format_method(method) if method else "Train on without a teacher"
    if key == UNTOUCHED:
        done = "Leave as it is"
    image_set = format_transfer_set(images) if images else ""
    return [
        names.methods.setdefault(done, len(names.methods)),
        names.sets.setdefault(image_set, len(names.sets)),
        setting,
        format_points(validation),
        format_points(test),
    ]


def make_pairs_section(data: ReportData) -> Section | None:
    """The section on single pairs, and what the page draws of each; none without pairs."""
    drawn = collect_pair_data(data)
    if not data.has_pairs and not drawn["pairs"]:
        return None
    verdicts = data.tables.verdicts
    decided = verdicts[verdicts["action"] != "undecided"]
    values = {
        "grids": [make_counts_grid(decided)] if len(decided) else [],
        "verdicts": make_verdict_tables(data),
        "decided": len(decided),
        "method_note": METHOD_NOTE,
        "options": list_pair_options(
            {key: pair.get("who", "") for key, pair in drawn["pairs"].items()}, data.campaign
        ),
        "best": make_best_tables(data.best_settings),
    }
    files = (
        {"verdicts.csv": format_frame(verdicts, ("temperature", "alpha"))} if len(decided) else {}
    )
    blocks = [Block(template="pairs.html.j2", values=values)]
    return Section(
        "pairs", "What to do with each pair", VERDICT_NOTE, blocks, "Pairs", files, drawn
    )


def make_best_tables(best: pd.DataFrame) -> list[Table]:
    """The best settings of all pairs, with and without a look at the test set."""
    title = f"Best settings of {format_count(len(best), 'pair')}"
    # The table above has gains of verdicts: these are of the best cell, whatever the verdict is.
    of_cell = dict.fromkeys(("validation_gain", "test_gain", "net_gain"), " of tuned KD (pp)")
    named = of_cell | {"control_gain": " on own data (pp)", "vanilla_gain": " on own data (pp)"}
    columns = [
        column._replace(heading=column.heading.replace(" (pp)", named[column.key]))
        if column.key in named
        else column
        for column in list_columns(best)
    ]
    shown = best.assign(advice=[describe_advice(line) for line in best.to_dict("records")])
    return make_tables(title, ["partition", *columns], add_labels(shown))


def collect_pair_data(data: ReportData) -> dict[str, Any]:
    """What the page draws of each pair that has anything to draw.

    Returns:
        ``pairs``: by key (:func:`~kdopt.report.sections.pairs.make_pair_key`) the verdict,
        what was tried, the surface, the history and the class accuracies; ``grid``: what of a
        surface the pairs have in common and so leave out; ``classes``: names in class order;
        ``methods``: label and colour by method; ``vanilla``: its temperature and alpha;
        ``selection``: how settings were selected; ``tried``: names that ``tried`` of a pair
        counts from 0.
    """
    tables, campaign, best = data.tables, data.campaign, data.best_settings
    scores = tables.class_scores
    found: dict[str, dict[str, Any]] = {}
    searched = index_lines(best)
    for pair, line in searched.items():
        found[make_pair_key(pair)] = {
            **_collect_surface(tables.surfaces[pair], line),
            "history": _collect_history(tables.results.tuned.get(pair, [])),
        }
    for pair, of_pair in scores.items():
        found.setdefault(make_pair_key(pair), {})["scores"] = _collect_scores(of_pair)
    verdicts, names = tables.verdicts, TriedNames({}, {})
    for pair, line in index_lines(verdicts).items():
        if (shown := found.get(make_pair_key(pair))) is not None:
            shown["verdict"] = describe_verdict(line)
            shown["effect"] = f"{give_reason(line)} {describe_effect(line)}".strip()
            if pair in searched:
                shown["tuning"] = describe_tuning(searched[pair], line, campaign)
            shown |= collect_tried(
                line, list_candidates(pair, tables.results), names, data.campaign
            )
            if who := campaign.describe_pair(pair.teacher, pair.student):
                shown["who"] = who
    n_classes = max((len(s.before) for s in scores.values()), default=0)
    styles = {m: get_method_style(m) for s in scores.values() for m in s.after}
    # Once, not in every pair: pairs whose grid is another keep their own.
    grid: dict[str, Any] = {"points": []}
    for key in ("temperatures", "alphas"):
        grid[key] = next((pair[key] for pair in found.values() if key in pair), [])
    for pair_data in found.values():
        for key, value in grid.items():
            if pair_data.get(key) == value:
                del pair_data[key]
    return {
        "grid": grid,
        "pairs": found,
        "classes": name_classes(campaign.data, n_classes, data.class_names),
        "methods": {method: [style.label, style.colour] for method, style in styles.items()},
        "vanilla": list(campaign.tune.vanilla_point),
        "selection": describe_selection(campaign),
        "tried": {"methods": list(names.methods), "sets": list(names.sets)},
    }


def list_pair_options(
    pairs: Mapping[str, str], campaign: Campaign
) -> dict[str, list[tuple[str, str]]]:
    """Keys and labels of pairs to choose from, by the title of their partition.

    Args:
        pairs: By key, who teaches whom by name; empty where they have no names.
        campaign: The campaign.
    """
    order = [p.name for p in campaign.partitions]
    split = [(*key.rpartition("/")[::2], key) for key in pairs]
    known = sorted(split, key=lambda x: (order.index(x[0]) if x[0] in order else len(order), *x))
    options: dict[str, list[tuple[str, str]]] = {}
    titles = title_partitions([*order, *(partition for partition, _, _ in known)])
    for partition, label, key in known:
        shown = f"{label} ({pairs[key]})" if pairs[key] else label
        options.setdefault(titles[partition], []).append((key, shown))
    return options


def _collect_surface(surface: Surface, line: Line) -> dict[str, Any]:
    grid = bool(surface.temperatures)
    cells = [
        [c.temperature, c.alpha, _round_gain(c.validation_gain), _round_gain(c.test_gain)]
        for c in surface.points
    ]
    return {
        "temperatures": surface.temperatures,
        "alphas": surface.alphas,
        "validation": [[_round_gain(v) for v in row] for row in surface.validation_gain],
        "test": [[_round_gain(v) for v in row] for row in surface.test_gain],
        "points": [] if grid else cells,
        "selected": _make_point(line["temperature"], line["alpha"]),
        "oracle": _make_point(line["oracle_temperature"], line["oracle_alpha"]),
    }


def _collect_history(rows: Iterable[TrialRow]) -> list[list[Any]]:
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
            found.append([row.number, *cell, *map(_round_gain, gains)])
    return found


def _collect_scores(scores: ClassScores) -> dict[str, Any]:
    """Class accuracies in percent; the page shows tenths."""

    def round_scores(values: Iterable[float | None]) -> list[float | None]:
        return [None if v is None else round(v, 2) for v in values]

    after = {method: round_scores(values) for method, values in scores.after.items()}
    return {"before": round_scores(scores.before), "after": after}


def _round_gain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 3) + 0.0


def _make_point(temperature: float, alpha: float) -> list[float] | None:
    return None if math.isnan(temperature) else [temperature, alpha]
