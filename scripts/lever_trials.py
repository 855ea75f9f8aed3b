"""What ``scripts/levers.py`` cannot replay from grids alone: finished trials, trained again.

    python scripts/lever_trials.py lines --store STORE --store STORE --out lines.jsonl
    python scripts/lever_trials.py curves --store STORE --store STORE --out curves.jsonl
    python scripts/lever_trials.py pack lines.jsonl --to scripts/lever_lines.json
    python scripts/lever_trials.py lines --store STORE --store STORE --out teacher.jsonl \
        --ways interpolated measured teacher "teacher measured"
    python scripts/lever_trials.py pack teacher.jsonl --to scripts/lever_teacher.json

``lines`` trains every pair's control and its best cell again and scores students around them: on
the line from the untouched student, with batch norm's statistics made in three ways, and moved
towards the teacher besides; all the way where the participants began with the same weights, and
from the untouched student too. ``curves`` trains the cells again that the learnt search tries where
the pair's kind of partition is not known, and scores them on validation after every epoch. Pairs
come in random order, those of all stores mixed, so a run that is stopped leaves a random sample.
``pack`` puts together what ``scripts/levers.py`` reads. Nothing is written to the stores.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import kdopt.trials.context as trained_by
from kdopt.outcome import TRAINED, Outcome, Pair, TrialRow
from kdopt.search.full_grids import FullGrid, leave_out
from kdopt.search.replay import fit_surrogate
from kdopt.train.batch_norm import measure_statistics
from kdopt.train.evaluation import predict_logits
from kdopt.train.fit import DivergedError, Fit, copy_state
from kdopt.train.steps import Student
from kdopt.train.student_line import interpolate_weights
from kdopt.trials.context import Context
from scripts.lever_tables import name_record
from scripts.search_judge import COUNTS, follow_search, name_pair
from scripts.student_line import (
    Source,
    find_best,
    list_pairs,
    name_point,
    open_source,
)

PLACES = (0.25, 0.5, 0.75, TRAINED, 1.25)
TOWARDS_TEACHER = tuple((s, r) for s in (0.5, TRAINED) for r in (0.1, 0.2, 0.5))
"""Places ``s`` on the line, and how far ``r`` from there, as from the untouched to the teacher."""

STEPS = (0.1, 0.25, 0.5, 0.75, 1.0)
TOWARDS_SHARED = tuple((s, r) for s in (0.5, TRAINED) for r in STEPS)
"""The same where initial weights are shared."""

NO_TRIAL = tuple((0.0, r) for r in (0.0, *STEPS))
"""From the untouched student (0, 0) to the teacher itself (0, 1)."""

WAYS = ("interpolated", "measured", "kept", "teacher", "teacher measured")
"""How students are made: where batch norm's statistics come from, and whether the teacher's
weights have a say."""

LEFT_OUT = ("seconds", "same", "point")
"""What is not kept of a record: all trials came out as they were recorded."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("lines", "curves"):
        command = commands.add_parser(name, help="train and score; takes seconds per pair")
        command.add_argument("--store", action="append", required=True, help="may be repeated")
        command.add_argument("--out", type=Path, required=True, help="a line of JSON per pair")
        command.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
        command.add_argument("--seed", type=int, default=0, help="of the order of the pairs")
        if name == "lines":
            command.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="[all]")
    pack = commands.add_parser("pack", help="put together what scripts/levers.py reads")
    pack.add_argument("files", type=Path, nargs="+")
    pack.add_argument("--to", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.command == "pack":
        write_packed(args.files, args.to)
        return
    sources = [open_source(location, None) for location in args.store]
    deadline = time.monotonic() + 60 * args.minutes
    done = read_done(args.out)
    lines = args.command == "lines"
    measure = functools.partial(measure_lines, ways=args.ways) if lines else plan_curves(sources)
    with args.out.open("a", encoding="utf-8") as out:
        for source, grid in list_pairs(sources, args.seed):
            if time.monotonic() > deadline:
                break
            if name_pair(grid) in done:
                continue
            started = time.process_time()
            record = {**describe_pair(source, grid), **measure(source, grid)}
            record["seconds"] = round(time.process_time() - started, 2)
            out.write(json.dumps(record) + "\n")
            out.flush()


def describe_pair(source: Source, grid: FullGrid) -> dict[str, Any]:
    """Which pair, the numbers of its images, and what its untouched student classifies rightly."""
    before = source.results.pretrained[grid.pair.partition, grid.pair.student]
    images = before.validation.images, before.test.images
    accuracies = before.validation.accuracy, before.test.accuracy
    return {
        "campaign": grid.campaign.name,
        "data": grid.campaign.data.name,
        **grid.pair._asdict(),
        "images": images,
        "untouched": [round(a * n) for a, n in zip(accuracies, images, strict=True)],
    }


def read_done(out: Path) -> set[str]:
    """The pairs that a file has."""
    return {name_record(record) for record in (read_records(out) if out.exists() else ())}


def read_records(file: Path) -> list[dict[str, Any]]:
    """What a file has; a line that was cut off does not count."""
    lines = file.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def write_packed(files: Sequence[Path], to: Path) -> None:
    """All records of some files as one, a line each, in the order of the pairs.

    Raises:
        SystemExit: A trial came out otherwise than it was recorded.
    """
    records = {name_record(record): record for file in files for record in read_records(file)}
    if other := [name for name, record in records.items() if not record["same"]]:
        raise SystemExit(f"{other[0]}: its trials came out otherwise than they were recorded")
    lines = [
        json.dumps(
            {k: v for k, v in records[name].items() if k not in LEFT_OUT}, separators=(",", ":")
        )
        for name in sorted(records)
    ]
    to.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


def measure_lines(source: Source, grid: FullGrid, ways: Sequence[str] = WAYS) -> dict[str, Any]:
    """Scores of the students around a pair's control and its best cell."""
    pair = grid.pair
    pretrained = source.results.pretrained
    before, teacher = (pretrained[pair.partition, who] for who in (pair.student, pair.teacher))
    point = find_best(grid)
    shared = grid.campaign.initial_weights == "shared"
    steps = TOWARDS_SHARED if shared else TOWARDS_TEACHER
    rows = {
        "control": source.controls[pair.partition, pair.student],
        "best": source.cells[pair][point],
    }
    found: dict[str, Any] = {"point": name_point(point), "same": True}
    for name, row in rows.items():
        context, trained, same, _ = train_again(source, row)
        start = copy_state(context.load_model(before))
        towards = copy_state(context.load_model(teacher))
        key = (grid.campaign.name, row.study, row.number) if name == "control" else None
        scorer = Scorer(context, pair, before)
        states = start, trained, towards
        if shared and "start" not in found:
            none: dict[str, Any] = {way: {} for way in ways}
            found["start"] = none | scorer.score_towards((start, start, towards), ways, NO_TRIAL)
        found[name] = score_around(scorer, states, key, ways, steps)
        found["same"] &= same
    return found


_trained: dict[tuple[str, str, int], tuple[Context, dict[str, Tensor], bool, list[int]]] = {}


def train_again(
    source: Source, row: TrialRow, watched: bool = False
) -> tuple[Context, dict[str, Tensor], bool, list[int]]:
    """Images and models, the weights of a trial's student, and whether it came out as recorded.

    A student's control is trained once, whoever its teachers are. Last is, where it is watched, how
    many validation images were right after each epoch.
    """
    assert row.outcome is not None
    key = source.rerunner.record.campaign.name, row.study, row.number
    if key not in _trained:
        context = source.rerunner.get_context(row.outcome)
        with record_curves() if watched else contextlib.nullcontext([]) as curve:
            found = source.rerunner.run(row)
        assert found.model is not None
        same = found.outcome.validation.right == row.outcome.validation.right
        rights = [round(a * row.outcome.validation.images) for a in curve]
        made = context, copy_state(found.model), same, rights
        if row.stage != "control":
            return made
        _trained[key] = made
    return _trained[key]


_scored: dict[tuple[str, str, int], dict[str, Any]] = {}


def score_around(
    scorer: Scorer,
    states: Sequence[Mapping[str, Tensor]],
    key: Any,
    ways: Sequence[str],
    steps: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Scores by way of making the student and by place.

    Args:
        scorer: Of the pair.
        states: The weights of the untouched student, of the trained one and of the teacher.
        key: Names the trained one, which may have several teachers; ``None``: it has one.
        ways: Of :data:`WAYS`.
        steps: Places and how far from there towards the teacher.
    """
    found = _scored.get(key) if key is not None else None
    if found is None:
        own = [way for way in ways if "teacher" not in way]
        found = {w: scorer.score(list_states(w, *states, steps), w == "measured") for w in own}
        if key is not None:
            _scored[key] = found
    return found | scorer.score_towards(states, ways, steps)


def list_states(
    way: str,
    start: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    towards: Mapping[str, Tensor],
    steps: Sequence[tuple[float, float]],
) -> dict[str, dict[str, Tensor]]:
    """The weights at each place, batch norm's statistics interpolated or kept."""
    if "teacher" in way:
        return {
            f"{place:g} {share:g}": move_towards(start, trained, towards, place, share)
            for place, share in steps
        }
    line = {f"{place:g}": interpolate_weights(start, trained, place) for place in PLACES}
    if way != "kept":
        return line
    return {
        name: {key: trained[key] if "running_" in key else value for key, value in state.items()}
        for name, state in line.items()
        if name != f"{TRAINED:g}"
    }


def move_towards(
    start: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    towards: Mapping[str, Tensor],
    place: float,
    share: float,
) -> dict[str, Tensor]:
    """``w0 + s (w1 - w0) + r (wT - w0)``, batch norm's statistics along."""
    return {
        key: (value + share * (towards[key] - start[key])).clamp_min(
            0 if key.endswith("running_var") else -math.inf
        )
        if value.is_floating_point()
        else value
        for key, value in interpolate_weights(start, trained, place).items()
    }


class Scorer:
    """Scores weights of a pair's student; on test only those that may be chosen."""

    def __init__(self, context: Context, pair: Pair, before: Outcome) -> None:
        self._context, self._before = context, before
        self._validation = context.get_validation(pair.partition, pair.student)
        self._images = context.get_share(pair.partition, pair.student)

    def score_towards(
        self,
        states: Sequence[Mapping[str, Tensor]],
        ways: Sequence[str],
        steps: Sequence[tuple[float, float]],
    ) -> dict[str, Any]:
        """Scores of students that were moved towards the teacher, see :func:`score_around`."""
        further = [way for way in ways if "teacher" in way]
        all_tested = steps is not TOWARDS_TEACHER
        return {
            w: self.score(list_states(w, *states, steps), "measured" in w, all_tested)
            for w in further
        }

    def score(
        self,
        states: Mapping[str, Mapping[str, Tensor]],
        measured: bool,
        all_tested: bool = False,
    ) -> dict[str, Any]:
        """Validation of all, and test of the best of them and of the trained student.

        Args:
            states: Weights by place.
            measured: Whether batch norm's statistics are made on the student's images.
            all_tested: Test of all that are better than the untouched student.
        """
        model = self._context.load_model(self._before)
        before = round(self._before.validation.accuracy * self._before.validation.images)
        found: dict[str, Any] = {}
        for on_test in (False, True):
            best = max((right for right, _ in found.values()), default=0)
            for name, state in states.items():
                if on_test and (
                    name not in found
                    or found[name][0] <= before
                    or (not all_tested and found[name][0] < best and name != f"{TRAINED:g}")
                ):
                    continue
                model.load_state_dict(state)
                if measured and not measure_statistics(model, self._images, self._context.engine):
                    continue
                with contextlib.suppress(DivergedError):
                    images = self._context.test if on_test else self._validation
                    logits = predict_logits(model, images, self._context.engine)
                    right = int((logits.argmax(dim=1) == images.labels).sum())
                    found[name] = (found[name][0], right) if on_test else (right, None)
        return found


def plan_curves(sources: Sequence[Source]) -> Any:
    """Scores after every epoch of the cells that a search tries."""
    grids = [grid for source in sources for grid in source.grids]
    groups = [(frozenset(map(id, group)), known) for group, known in leave_out(grids, "partition")]
    fit = functools.cache(lambda number: fit_surrogate(groups[number][1]))

    def measure(source: Source, grid: FullGrid) -> dict[str, Any]:
        number = next(i for i, (group, _) in enumerate(groups) if id(grid) in group)
        curves, all_same = [], True
        for point in follow_search(fit(number), grid, max(COUNTS))[0]:
            row = source.cells[grid.pair][point]
            _, _, same, curve = train_again(source, row, watched=True)
            curves.append([*point, curve])
            all_same &= same
        return {"curves": curves, "same": all_same}

    return measure


@contextlib.contextmanager
def record_curves() -> Iterator[list[float]]:
    """Trials in here are scored on validation after each epoch; they keep their last weights."""
    fit, fit_together = trained_by.fit, trained_by.fit_together
    curve: list[float] = []

    def watch(monitor: Any) -> Any:
        def measure(model: nn.Module) -> float:
            curve.append(monitor(model))
            return curve[-1]

        return measure

    def fit_watched(
        model: nn.Module, images: Any, loss: Any, settings: Any, *rest: Any, **named: Any
    ) -> Fit:
        named["monitor"] = watch(named["monitor"])
        patient = replace(settings, patience=settings.epochs)
        fit(model, images, loss, patient, *rest, **named)
        return Fit(settings.epochs, settings.epochs, None)

    def fit_together_watched(
        students: Sequence[Student], images: Any, settings: Any, *rest: Any
    ) -> list[Fit | DivergedError]:
        watched = [Student(s.model, s.loss, watch(s.monitor)) for s in students]
        patient = replace(settings, patience=settings.epochs)
        fits = fit_together(watched, images, patient, *rest)
        last = Fit(settings.epochs, settings.epochs, None)
        return [f if isinstance(f, DivergedError) else last for f in fits]

    trained_by.fit, trained_by.fit_together = fit_watched, fit_together_watched
    try:
        yield curve
    finally:
        trained_by.fit, trained_by.fit_together = fit, fit_together


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
