"""Full grids of many partitions: other concentrations, fractions, chunks, sizes and crowds.

    python scripts/wide_grids.py run --store wide/kdopt.db    # an hour or two on two cores
    python scripts/wide_grids.py pack --store wide/kdopt.db   # writes scripts/wide_grids.json

A campaign of ``CAMPAIGNS`` is one partition of one data set. All have the control and a student
line at every cell. ``run`` goes on where it was; ``pack`` takes the pairs that are finished.
CIFAR-10 is read as ``studies/cifar10-small.toml`` reads it.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_tune
from kdopt.features.definitions import LABEL_FEATURES, MODEL_FEATURES
from kdopt.features.measurements import read_measurements, tabulate_pairs
from kdopt.outcome import Pair, TrialRow, find_pretrained
from kdopt.search.full_grids import FullGrid
from kdopt.store.attributes import ERROR_KEY
from kdopt.store.database import Store, open_store
from kdopt.store.queries import list_campaigns, read_record, read_study_counts, read_trials
from scripts.line_grids import collect_line_grids, pack_line_grid, unpack_line_grid

PACKED = Path(__file__).with_name("wide_grids.json")

MOST_PAIRS = 12
"""Pairs of a campaign that are distilled, drawn at random: 20 participants make 380."""

DECIMALS = 4

MORE_FEATURES = tuple(feature.name for feature in (*LABEL_FEATURES, *MODEL_FEATURES))
"""Features that not every pair of a prior has."""

VALIDATION_IMAGES = 720
TEST_IMAGES = {"fashion_mnist": 1000, "cifar10": 2000}
SHORT = {"fashion_mnist": "fashion", "cifar10": "cifar"}


class Wide(NamedTuple):
    """A campaign of one partition.

    Attributes:
        data: Its data set.
        kind: Its kind of partition.
        value: The partition's concentration, dominant fraction or classes; ``None`` if it has none.
        images: Training images of a participant, on the mean of all.
        participants: How many there are.
        curves: Whether validation is recorded after every epoch.
    """

    data: str
    kind: str
    value: float | None
    images: int
    participants: int = 4
    curves: bool = False

    @property
    def name(self) -> str:
        value = "" if self.value is None else f"-{self.value:g}"
        return f"wide-{SHORT[self.data]}-{self.kind}{value}-{self.participants}x{self.images}"


F, C = "fashion_mnist", "cifar10"
CAMPAIGNS = (
    Wide(F, "label_dirichlet", 0.05, 300, curves=True),
    Wide(C, "specialized", 0.5, 300),
    Wide(F, "label_chunks", 2, 150),
    Wide(C, "label_dirichlet", 1, 600, curves=True),
    Wide(F, "specialized", 0.99, 300),
    Wide(C, "quantity_skew", 0.3, 300),
    Wide(F, "label_dirichlet", 10, 60),
    Wide(C, "label_chunks", 6, 400),
    Wide(F, "label_dirichlet", 0.3, 60, participants=20),
    Wide(C, "label_dirichlet", 0.05, 300),
    Wide(F, "specialized", 0.5, 1000),
    Wide(C, "specialized", 0.7, 100, participants=12),
    Wide(F, "quantity_skew", 0.3, 150, curves=True),
    Wide(C, "uniform", None, 2000, participants=3),
    Wide(F, "uniform", None, 60),
    Wide(C, "specialized", 0.99, 150),
    Wide(F, "label_chunks", 7, 600, curves=True),
    Wide(C, "label_chunks", 2, 200),
    Wide(F, "specialized", 0.8, 100, participants=8),
    Wide(C, "quantity_skew", 3, 150),
)

SPEC = """\
name = "{name}"
seed = 23
participants = {participants}
model = "cnn"
stages = ["tune"]
partitions = ["{kind}"]
student_line = [0.25, 0.5, 0.75, 1.25]
batch_norm = "{batch_norm}"
learning_curves = "{recorded}"

[data]
name = "{data}"
train_size = {train_size}
test_size = {test_size}
validation_fraction = {fraction}

[transfer]
public_unlabeled_small = 0
public_unlabeled_large = 0
public_labeled = 0

[pretrain]
epochs = 20
patience = 5

[distill]
epochs = 6
patience = 0

[partition.{kind}]
min_size = 16
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "pack"])
    parser.add_argument("--store", required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.command == "run":
        run_campaigns(args.store, args.workers)
    else:
        PACKED.write_text(pack_store(args.store), "utf-8")


def run_campaigns(store: str, workers: int, batch_norm: str = "running") -> None:
    """Plan and run all campaigns, one after the other."""
    folder = Path(store).parent / "specs"
    folder.mkdir(parents=True, exist_ok=True)
    kdopt = [sys.executable, "-m", "kdopt"]
    for wide in CAMPAIGNS:
        if not is_through(store, wide.name):
            spec = folder / f"{wide.name}.toml"
            spec.write_text(format_spec(wide, batch_norm), "utf-8")
            subprocess.run([*kdopt, "plan", str(spec), "--store", store], check=True)
            draw_pairs(store, wide.name)
            work = [*kdopt, "worker", wide.name, "--store", store, "--workers", str(workers)]
            subprocess.run([*work, "--quiet"], check=True)
        if batch_norm == "running":
            subprocess.run([*kdopt, "features", wide.name, "--store", store], check=True)


def is_through(location: str, name: str) -> bool:
    """Whether a campaign was planned, and nothing of it waits or runs."""
    if not Path(location).exists():
        return False
    store = open_store(location)
    states = read_study_counts(store, name) if name in list_campaigns(store) else []
    store.close()
    return bool(states) and not any(state.waiting or state.running for state in states)


def draw_pairs(location: str, name: str) -> None:
    """Give up the trials of pairs that are not drawn, before anybody works on them."""
    store = open_store(location)
    plans = plan_tune(read_record(store, name).campaign)
    kept = random.Random(name).sample(plans, min(MOST_PAIRS, len(plans)))
    left = [plan.name for plan in plans if plan not in kept]
    of_left = (
        "FROM trials WHERE state = 'WAITING' AND study_id IN "
        "(SELECT study_id FROM studies WHERE study_name IN :left)"
    )
    # With a reason, as kdopt's own: without one workers would plan these trials again.
    explained = (
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
        f"SELECT trial_id, :key, :reason {of_left}"
    )
    given_up = f"UPDATE trials SET state = 'FAIL' WHERE trial_id IN (SELECT trial_id {of_left})"
    values = {"left": left, "key": ERROR_KEY, "reason": json.dumps("the pair was not drawn")}
    with store.write() as connection:
        for statement in (explained, given_up):
            text = sa.text(statement).bindparams(sa.bindparam("left", expanding=True))
            connection.execute(text, {k: v for k, v in values.items() if f":{k}" in statement})
    store.close()


def format_spec(wide: Wide, batch_norm: str = "running") -> str:
    """The campaign file."""
    train_size = wide.participants * wide.images + VALIDATION_IMAGES
    text = SPEC.format(
        **wide._asdict(),
        recorded="all" if wide.curves else "none",
        batch_norm=batch_norm,
        name=wide.name,
        train_size=train_size,
        test_size=TEST_IMAGES[wide.data],
        fraction=VALIDATION_IMAGES / train_size,
    )
    if wide.kind == "label_chunks":
        assert wide.value is not None
        # Small enough that each participant can have that many classes.
        return text + f"classes = {wide.value:g}\nchunk_size = {wide.images // 20}\n"
    if wide.kind == "specialized":
        return text + f"dominant_fraction = {wide.value}\n"
    if wide.kind == "label_dirichlet":
        return text + f"concentration = [{wide.value}]\n"
    if wide.kind == "quantity_skew":
        return text + f"concentration = {wide.value}\n"
    return text


class WidePair(NamedTuple):
    """A pair of one of the campaigns.

    Attributes:
        line: Its full grid, each student the best of its line on validation.
        plain: The same without the line.
        features: :data:`MORE_FEATURES` by name, NaN where one is not known.
        classes: By class, (4, classes): the validation recalls of teacher and student and the
            shares of the class in their training images.
        ranks: After each epoch, the rank correlation of all cells' monitored values with those
            after the last; empty where no curves were recorded.
    """

    line: FullGrid
    plain: FullGrid
    features: Mapping[str, float]
    classes: Sequence[Sequence[float]]
    ranks: Sequence[float]


def pack_store(location: str) -> str:
    """JSON, one line per pair of campaigns that are through; :func:`read_wide_pairs` reads it."""
    store = open_store(location)
    known = {wide.name for wide in CAMPAIGNS}
    records = [
        record
        for name in list_campaigns(store)
        if name in known and read_measurements(store, name)
        for record in _pack_campaign(store, name)
    ]
    store.close()
    return "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n]\n"


def _pack_campaign(store: Store, name: str) -> list[dict[str, Any]]:
    campaign, rows = read_record(store, name).campaign, read_trials(store, name)
    grids = collect_line_grids(rows, campaign)
    measured = read_measurements(store, name)
    table = tabulate_pairs(rows, campaign, measured).set_index(list(Pair._fields))
    trained = find_pretrained(rows)
    records = []
    for grid in grids:
        pair = grid.line.pair
        of = [trained[pair.partition, one].validation.per_class for one in pair[1:]]
        counts = [measured[pair.partition].label_counts[one] for one in pair[1:]]
        shares = [[count / sum(each) for count in each] for each in counts]
        records.append(
            {
                "campaign": name,
                **pack_line_grid(grid),
                "more": [round(float(table.loc[pair][f]), DECIMALS) for f in MORE_FEATURES],
                "ranks": correlate_ranks([r for r in rows if r.pair == pair and r.stage == "tune"]),
                "classes": [[round(x or 0.0, DECIMALS) for x in each] for each in (*of, *shares)],
            }
        )
    return records


def correlate_ranks(rows: Sequence[TrialRow]) -> list[float]:
    """Spearman's correlation of trials' curves after each epoch with their end."""
    curves = pd.DataFrame([row.outcome.curve for row in rows if row.outcome is not None])
    ranks = curves.rank()
    return [round(float(ranks[epoch].corr(ranks.iloc[:, -1])), DECIMALS) for epoch in ranks]


def read_wide_pairs() -> list[WidePair]:
    """The pairs whose results are in ``scripts/wide_grids.json``."""
    campaigns = {w.name: parse_spec(format_spec(w)).campaign for w in CAMPAIGNS}
    return [
        WidePair(
            *unpack_line_grid(record, campaigns[record["campaign"]]),
            dict(zip(MORE_FEATURES, record["more"], strict=True)),
            record["classes"],
            record["ranks"],
        )
        for record in json.loads(PACKED.read_text("utf-8"))
    ]


if __name__ == "__main__":
    main()
