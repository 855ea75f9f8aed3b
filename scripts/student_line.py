"""What the student line gives: finished pairs run again, scored at places on the line.

    python scripts/student_line.py measure --store STORE --store STORE --out line.jsonl
    python scripts/student_line.py table line.jsonl

A trial is a pure function of campaign and cell, so it is trained again here and its student kept.
Of every pair these are: the control, vanilla, the cell of the grid that is best on validation, and
a fixed list of cells, best over the pairs of the other data sets. Each is scored at every place of
:data:`PLACES` in two ways: batch norm's statistics interpolated as the weights are, or measured
again on the student's images. The pairs come in random order, those of all stores mixed, so a run
that is stopped early leaves a random sample. Nothing is written to the stores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

# Run from anywhere, installed or not.
sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.best_settings import find_best_point
from kdopt.analysis.results import CampaignResults
from kdopt.outcome import TRAINED, Outcome, Pair, Scores, TrialRow
from kdopt.search.full_grids import FullGrid, collect_full_grids
from kdopt.search.prior import Point, get_point
from kdopt.search.replay import build_portfolio
from kdopt.service.rerun import Rerunner
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.location import folder_beside
from kdopt.store.queries import pick_campaign
from kdopt.train.batch_norm import measure_statistics
from kdopt.train.engine import Images
from kdopt.train.evaluation import predict_logits, score_logits
from kdopt.train.fit import DivergedError, copy_state
from kdopt.train.student_line import interpolate_weights
from kdopt.trials.context import Context
from scripts.student_line_table import CONTROL, Way, format_tables, read_pairs

PLACES = (0.25, 0.5, 0.75, TRAINED, 1.25, 1.5)
LISTED = 4
"""Cells of the fixed list."""

Tried = tuple[float, float, str]
"""Accuracies on validation and test, in [0, 1], and which validation images were right. Test is NaN
where validation is no better than the untouched student's."""

VANILLA, BEST, LIST = "vanilla", "best", "listed"
STUDENTS = (CONTROL, BEST, VANILLA, LIST)
WAYS: tuple[Way, ...] = ("interpolated", "measured")


class Source(NamedTuple):
    """A finished campaign: what runs its trials again, and what they are."""

    rerunner: Rerunner
    results: CampaignResults
    grids: list[FullGrid]
    cells: dict[Pair, dict[Point, TrialRow]]
    controls: dict[tuple[str, int], TrialRow]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="train and score; takes seconds per pair")
    measure.add_argument("--store", action="append", required=True, help="may be repeated")
    measure.add_argument(
        "--campaign", action="append", default=[], help="which, for each store that has several"
    )
    measure.add_argument("--out", type=Path, required=True, help="a line of JSON is added per pair")
    measure.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    measure.add_argument("--pairs", type=int, help="stop after so many pairs")
    measure.add_argument("--part", type=int, default=0, help="which of the --parts [default: 0]")
    measure.add_argument("--parts", type=int, default=1, help="processes that share the pairs")
    measure.add_argument("--seed", type=int, default=0, help="of the order of the pairs")
    measure.add_argument(
        "--students", nargs="+", default=list(STUDENTS), choices=STUDENTS, help="[default: all]"
    )
    measure.add_argument(
        "--interpolated-only", action="store_true", help="do not measure statistics again"
    )
    table = commands.add_parser("table", help="what came of it, as Markdown")
    table.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args(arguments)
    if args.command == "table":
        print(format_tables(read_pairs(args.files)))
        return
    names = [*args.campaign, *[None] * (len(args.store) - len(args.campaign))]
    sources = [open_source(*given) for given in zip(args.store, names, strict=True)]
    deadline = time.monotonic() + 60 * args.minutes
    order = list_pairs(sources, args.seed)[args.part :: args.parts][: args.pairs]
    known = read_pairs([args.out]) if args.out.exists() else []
    done = {(p.campaign, p.pair): p.lines.keys() for p in known}
    ways: tuple[Way, ...] = WAYS[:1] if args.interpolated_only else WAYS
    with args.out.open("a", encoding="utf-8") as out:
        for source, grid in order:
            if time.monotonic() > deadline:
                break
            cells = list_cells(sources, source, LISTED)
            asked = name_students(grid, cells, args.students)
            left = asked - done.get((grid.campaign.name, grid.pair), set())
            if left:
                record = measure_pair(source, grid, cells, left, ways)
                out.write(json.dumps(record) + "\n")
                out.flush()


def open_source(location: str, name: str | None) -> Source:
    """Read a store's campaign.

    Raises:
        SystemExit: Its trials are on a student line already, or have replicates.
    """
    store = open_store(location)
    artifacts = Artifacts(folder_beside(store.url, "artifacts"))
    rerunner = Rerunner(store, artifacts, pick_campaign(store, name))
    campaign = rerunner.record.campaign
    if campaign.student_line or campaign.replicates > 1:
        raise SystemExit(
            f"{campaign.name}: student_line = {list(campaign.student_line)}, replicates = "
            f"{campaign.replicates}; take a campaign without a line, of one replicate"
        )
    results = CampaignResults(rerunner.rows, campaign)
    rows = [row for row in rerunner.rows if rerunner.can_run(row)]
    cells: dict[Pair, dict[Point, TrialRow]] = {}
    for row in rows:
        if row.stage == "tune" and row.pair is not None and row.method is None:
            cells.setdefault(row.pair, {})[get_point(row.params)] = row
    controls = {
        (row.partition, int(row.params["student"])): row
        for row in rows
        if row.stage == "control" and row.params["transfer_set"] == "student"
    }
    grids = collect_full_grids(rerunner.rows, campaign)
    return Source(rerunner, results, grids, cells, controls)


def list_pairs(sources: Sequence[Source], seed: int) -> list[tuple[Source, FullGrid]]:
    """All pairs with a full grid and a control, in random order."""
    pairs = [
        (source, grid)
        for source in sources
        for grid in source.grids
        if (grid.pair.partition, grid.pair.student) in source.controls
    ]
    random.Random(seed).shuffle(pairs)
    return pairs


def list_cells(sources: Sequence[Source], mine: Source, count: int) -> list[Point]:
    """The fixed list for the pairs of one data set: best over those of the others."""
    data = mine.rerunner.record.campaign.data.name
    others = [g for s in sources for g in s.grids if g.campaign.data.name != data]
    return build_portfolio(others, count) if others else []


def name_students(grid: FullGrid, cells: Sequence[Point], asked: Collection[str]) -> set[str]:
    """What is to be trained of a pair: the control, and cells by name."""
    points = {VANILLA: [grid.campaign.tune.vanilla_point], BEST: [find_best(grid)], LIST: cells}
    names = {name_point(point) for kind in asked for point in points.get(kind, ())}
    return names | ({CONTROL} & set(asked))


def find_best(grid: FullGrid) -> Point:
    """The cell that is best on validation."""
    best = find_best_point(grid.cells.values(), "validation_gain", grid.campaign.tune)
    assert best is not None
    return best.temperature, best.alpha


def measure_pair(
    source: Source,
    grid: FullGrid,
    cells: Sequence[Point],
    names: Collection[str],
    ways: Sequence[Way] = WAYS,
) -> dict[str, Any]:
    """Everything that is trained and scored of one pair, as JSON has it.

    Args:
        source: Its campaign.
        grid: The pair.
        cells: The fixed list.
        names: What to train, see :func:`name_students`.
        ways: How batch norm's statistics are made.
    """
    pair, rows = grid.pair, source.cells[grid.pair]
    before = source.results.pretrained[pair.partition, pair.student]
    trained = {name_point(point): row for point, row in rows.items() if row.outcome is not None}
    started = time.process_time()
    lines = {
        name: measure_control(source, pair, ways)
        if name == CONTROL
        else _measure_line(source, trained[name], pair, ways)
        for name in sorted(names)
    }
    return {
        "campaign": grid.campaign.name,
        "data": grid.campaign.data.name,
        "kind": grid.campaign.get_family(pair.partition),
        **pair._asdict(),
        "untouched": _pack(before.validation, before.test.accuracy),
        "images": before.validation.images,
        VANILLA: name_point(grid.campaign.tune.vanilla_point),
        BEST: name_point(find_best(grid)),
        LIST: [name_point(point) for point in cells],
        "lines": lines,
        "grid": {
            name: _pack(row.outcome.validation, row.outcome.test.accuracy)
            for name, row in trained.items()
            if row.outcome is not None
        },
        "seconds": time.process_time() - started,
    }


_controls: dict[tuple[str, str, int], dict[str, Any]] = {}


def measure_control(source: Source, pair: Pair, ways: Sequence[Way]) -> dict[str, Any]:
    """A student's control is trained once, whoever its teachers are."""
    key = source.rerunner.record.campaign.name, pair.partition, pair.student
    if key not in _controls:
        row = source.controls[pair.partition, pair.student]
        _controls[key] = _measure_line(source, row, pair, ways)
    return _controls[key]


def _measure_line(source: Source, row: TrialRow, pair: Pair, ways: Sequence[Way]) -> dict[str, Any]:
    """Scores at every place; ``same`` says whether the trial came out as it is recorded."""
    assert row.outcome is not None
    context = source.rerunner.get_context(row.outcome)
    before = source.results.pretrained[pair.partition, pair.student]
    start = copy_state(context.load_model(before))
    found = source.rerunner.run(row)
    assert found.model is not None
    images = context.get_share(pair.partition, pair.student)
    scored: dict[Way, dict[float, Tried]] = {way: {} for way in WAYS}
    for place, model in walk_line(found.model, start, PLACES):
        for way in ways:
            if way == "interpolated" or measure_statistics(model, images, context.engine):
                with contextlib.suppress(DivergedError):  # weights of no use
                    scored[way][place] = _score(context, model, pair, before)
    same = found.outcome.validation.right == row.outcome.validation.right
    return {"same": same, **scored}


def walk_line(
    model: nn.Module, start: Mapping[str, Tensor], places: Sequence[float]
) -> Iterator[tuple[float, nn.Module]]:
    """A trained model with the weights of each place."""
    trained = copy_state(model)
    for place in places:
        model.load_state_dict(interpolate_weights(start, trained, place))
        yield place, model


def _score(context: Context, model: nn.Module, pair: Pair, before: Outcome) -> Tried:
    validation = _score_images(context, model, context.get_validation(pair.partition, pair.student))
    # One that is no better than the untouched student is never chosen: its test is not needed.
    better = validation.accuracy > before.validation.accuracy
    test = _score_images(context, model, context.test).accuracy if better else math.nan
    return _pack(validation, test)


def _score_images(context: Context, model: nn.Module, images: Images) -> Scores:
    logits = predict_logits(model, images, context.engine)
    return score_logits(logits, images.labels, logits.shape[1])


def _pack(validation: Scores, test: float) -> Tried:
    return validation.accuracy, test, validation.right or ""


def name_point(point: Point) -> str:
    """Temperature and alpha."""
    return f"{point[0]:g} {point[1]:g}"


if __name__ == "__main__":
    main()
