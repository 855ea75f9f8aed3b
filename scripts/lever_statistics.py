"""Both batch-norm statistics at every cell of a small grid: trains pairs and scores their students.

    python scripts/lever_statistics.py run --out statistics.jsonl    # three quarters of an hour
    python scripts/lever_statistics.py pack statistics.jsonl         # for scripts/levers.py

A campaign of :data:`TEXT` for each data set: the participants are pre-trained, and the control and
six cells of every pair are trained. Each trained student is scored at every place of its line with
batch norm's statistics interpolated and measured, so one record has what ``batch_norm`` of
``running``, ``measured`` and ``both`` would each have kept, with a line and without. ``run`` goes
on where it was. CIFAR-10 is read as ``studies/cifar10-small.toml`` reads it.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.data.datasets import Dataset, load_dataset
from kdopt.outcome import TRAINED, Outcome
from kdopt.search.prior import get_point
from kdopt.service.planner import draw_splits
from kdopt.store.artifacts import Artifacts
from kdopt.train.batch_norm import measure_statistics
from kdopt.train.engine import Images, make_engine
from kdopt.train.evaluation import predict_logits
from kdopt.train.fit import DivergedError, copy_state
from kdopt.train.student_line import interpolate_weights
from kdopt.trials.context import Context
from kdopt.trials.control import run_control
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune
from scripts.lever_tables import find_best, name_record
from scripts.lever_trials import PLACES, read_done, read_records
from scripts.statistics_table import ALIKE, SETTINGS, STATISTICS
from scripts.student_line import name_point

TEXT = """
name = "statistics-{data}"
seed = 23
participants = 4
model = "cnn"
stages = ["tune"]
partitions = ["specialized", "label_chunks", "label_dirichlet", "quantity_skew"]

[data]
name = "{data}"
train_size = {train_size}
test_size = {test_size}
validation_fraction = {validation}

[pretrain]
epochs = 20
patience = 5

[distill]
epochs = 6
patience = 0

[tune]
temperatures = [1, 4]
alphas = [0.1, 0.5, 0.9]

[partition.quantity_skew]
concentration = 1.5

[partition.specialized]
dominant_fraction = 0.7

[partition.label_chunks]
chunk_size = 24
classes = 4

[partition.label_dirichlet]
concentration = [0.2, 2.0]
"""
"""Other draws of participants than those of the studies that come with kdopt; 720 images are for
validation, and 300 and 420 are a participant's on the mean."""

SIZES: Mapping[str, Mapping[str, float]] = {
    "fashion_mnist": {"train_size": 1920, "test_size": 1000, "validation": 0.375},
    "cifar10": {"train_size": 2400, "test_size": 2000, "validation": 0.3},
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and score")
    run.add_argument("--out", type=Path, required=True, help="a line of JSON per pair")
    run.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    pack = commands.add_parser("pack", help="put together what scripts/levers.py reads")
    pack.add_argument("file", type=Path)
    pack.add_argument("--to", type=Path, default=STATISTICS)
    args = parser.parse_args(arguments)
    if args.command == "pack":
        write_packed(args.file, args.to)
        return
    deadline = time.monotonic() + 60 * args.minutes
    campaigns = [
        parse_spec(TEXT.format(data=data, **sizes)).campaign for data, sizes in SIZES.items()
    ]
    run_campaigns(campaigns, args.out, deadline)


def run_campaigns(campaigns: Sequence[Campaign], out: Path, deadline: float) -> None:
    """Add the records of all pairs that a file lacks.

    Every participant is taught by one other first, then by a second one and by a third, so a run
    that is stopped leaves a balanced sample.
    """
    done = read_done(out)
    with tempfile.TemporaryDirectory() as folder, out.open("a", encoding="utf-8") as lines:
        benches = [
            Bench(context, partition.name)
            for context in (open_context(campaign, Path(folder)) for campaign in campaigns)
            for partition in context.campaign.partitions
        ]
        benches.sort(key=lambda bench: bench.number)
        for ahead in range(1, max(campaign.participants for campaign in campaigns)):
            for bench in benches:
                for plan in bench.list_pairs(ahead):
                    if name_record(bench.describe_pair(plan)) in done:
                        continue
                    lines.write(json.dumps(bench.measure_pair(plan)) + "\n")
                    lines.flush()
                    if time.monotonic() > deadline:
                        return


def open_context(campaign: Campaign, folder: Path) -> Context:
    """A campaign's images and models, on the CPU."""
    dataset: Dataset = load_dataset(campaign)
    artifacts = Artifacts(folder / campaign.name)
    splits = {
        name: artifacts.put(content) for name, content in draw_splits(campaign, dataset).items()
    }
    record = CampaignRecord(campaign, (), dataset.sha256(), splits)
    return Context(record, dataset, artifacts, make_engine("fp32", "cpu"))


class Bench:
    """Trains and scores the students of one partition.

    Attributes:
        number: The partition's place in its campaign.
    """

    def __init__(self, context: Context, partition: str) -> None:
        campaign = context.campaign
        self.number = [p.name for p in campaign.partitions].index(partition)
        self._context = context
        plans = [plan for plan in plan_studies(campaign) if plan.partition == partition]
        self._pretrain, self._control = (
            next(plan for plan in plans if plan.stage == stage) for stage in ("pretrain", "control")
        )
        self._pairs = [plan for plan in plans if plan.stage == "tune"]
        self._controls: dict[int, Line] = {}

    @functools.cached_property
    def _inputs(self) -> dict[int, Outcome]:
        return {
            int(cell["participant"]): run_pretrain(self._context, self._pretrain, cell, {})
            for cell in self._pretrain.cells
        }

    def list_pairs(self, ahead: int) -> list[StudyPlan]:
        """The pairs whose teacher is so many participants ahead of the student."""
        who = [(plan, plan.teacher, plan.student) for plan in self._pairs]
        count = self._context.campaign.participants
        return [
            p for p, t, s in who if t is not None and s is not None and t == (s + ahead) % count
        ]

    def describe_pair(self, plan: StudyPlan) -> dict[str, Any]:
        """Which pair a study is of."""
        return {
            "campaign": plan.campaign,
            "data": self._context.campaign.data.name,
            "partition": plan.partition,
            "teacher": plan.teacher,
            "student": plan.student,
        }

    def measure_pair(self, plan: StudyPlan) -> dict[str, Any]:
        """Scores of the students of the control and of every cell, by way and place.

        On test they are of those that some setting chooses.
        """
        assert plan.student is not None
        before = self._inputs[plan.student]
        scores = before.validation, before.test
        images = [s.images or 0 for s in scores]
        untouched = [round(s.accuracy * n) for s, n in zip(scores, images, strict=True)]
        lines = {"control": self._train_control(plan.student)}
        for cell in plan.cells:
            trained = run_tune(self._context, plan, cell, self._inputs)
            name = name_point(get_point(cell))
            lines[name] = Line(self._context, plan.partition, plan.student, before, trained)
        found = {name: line.rights for name, line in lines.items()}
        record = {**self.describe_pair(plan), "images": images, "untouched": untouched, **found}
        for ways in SETTINGS.values():
            for students in (("control",), tuple(lines)):
                best = find_best(record, ways, students)
                if best is not None:
                    lines[best[0]].score_on_test(*best[1:])
        return record

    def _train_control(self, student: int) -> Line:
        if student not in self._controls:
            params = {"student": student, "transfer_set": "student", "replicate": 0}
            trained = run_control(self._context, self._control, params, self._inputs)
            where = self._context, self._control.partition, student, self._inputs[student]
            self._controls[student] = Line(*where, trained)
        return self._controls[student]


class Line:
    """The students on the line of one that was just trained, with either statistics.

    Attributes:
        rights: By way and place, how many images of validation and of test are classified rightly;
            ``None``: not known.
    """

    def __init__(
        self, context: Context, partition: str, student: int, before: Outcome, trained: Outcome
    ) -> None:
        self._context, self._student = context, student
        self.rights: dict[str, dict[str, list[int | None]]] = {way: {} for way in ALIKE}
        self._states: dict[tuple[str, str], dict[str, Tensor]] = {}
        model = context.trained.find(trained)
        assert model is not None
        end = copy_state(model)
        start = copy_state(context.load_model(before))
        validation = context.get_validation(partition, student)
        images = context.get_share(partition, student)
        for place in PLACES:
            model = context.load_state(
                end if place == TRAINED else interpolate_weights(start, end, place), student
            )
            for way in ALIKE:
                if way == "measured":
                    measure_statistics(model, images, context.engine)
                self._states[way, f"{place:g}"] = copy_state(model)
                right = self._count_right(model, validation)
                if right is not None:
                    self.rights[way][f"{place:g}"] = [right, None]

    def score_on_test(self, way: str, place: str) -> None:
        """Score one of them on test, once."""
        scores = self.rights[way][place]
        if scores[1] is None:
            model = self._context.load_state(self._states[way, place], self._student)
            scores[1] = self._count_right(model, self._context.test)

    def _count_right(self, model: nn.Module, images: Images) -> int | None:
        try:
            logits = predict_logits(model, images, self._context.engine)
        except DivergedError:
            return None
        return int((logits.argmax(dim=1) == images.labels).sum())


def write_packed(file: Path, to: Path) -> None:
    """All records as one file, a line each, in the order of the pairs."""
    records = {name_record(record): record for record in read_records(file)}
    lines = [json.dumps(records[name], separators=(",", ":")) for name in sorted(records)]
    to.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
