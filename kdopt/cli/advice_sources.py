"""What ``kdopt recommend`` learns from: campaigns of a store, or the lessons that come with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdopt.advice.advise import check_training_set_size, has_enough_pairs
from kdopt.advice.training_set import (
    COMES_WITH,
    Situation,
    TrainingCampaign,
    TrainingSet,
    build_training_set,
    load_shipped_lessons,
)
from kdopt.analysis.results import CampaignResults
from kdopt.analysis.verdicts import tabulate_verdicts
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import DEFAULT_STORE
from kdopt.features.measurements import read_measurements
from kdopt.outcome import Pair
from kdopt.report.format import format_signed
from kdopt.report.verdict_text import describe_verdict
from kdopt.shown import format_count
from kdopt.store.database import Store
from kdopt.store.queries import list_campaigns, pick_campaign, read_record, read_trials


class Lessons(NamedTuple):
    """What is learnt from.

    Attributes:
        training_set: Finished pairs.
        note: Where they come from, if not from the store; else empty.
    """

    training_set: TrainingSet
    note: str


def open_store_if_any(location: str) -> Store | None:
    """The store; ``None`` if none was named and there is none in the usual place."""
    if location == DEFAULT_STORE and not Path(location).exists():
        return None
    return open_store_at(location)


def read_sources(store: Store, names: Sequence[str] | None) -> list[TrainingCampaign]:
    """The campaigns to learn from, as the store has them."""
    wanted = [pick_campaign(store, n) for n in names] if names else list_campaigns(store)
    with say_if_slow("reading the trials of the campaigns to learn from"):
        return [
            TrainingCampaign(
                read_record(store, n).campaign, read_trials(store, n), read_measurements(store, n)
            )
            for n in dict.fromkeys(wanted)
        ]


def find_lessons(
    sources: Sequence[TrainingCampaign],
    situation: Situation,
    without: tuple[str, Pair] | None = None,
    named: bool = False,
) -> Lessons:
    """Finished pairs of the store, or of what comes with kdopt where the store has too few.

    Args:
        sources: Campaigns of the store, if there are any.
        situation: What is distilled on.
        without: Campaign and pair that must not be learnt from.
        named: The campaigns were named, so that nothing may stand in for them.

    Raises:
        AdviceError: There is too little in the campaigns that were named.
    """
    found = build_training_set(sources, situation, without)
    if has_enough_pairs(found):
        return Lessons(found, "")
    if named:
        check_training_set_size(found)
    shipped = load_shipped_lessons()[situation]
    names = shipped.pairs["campaign"].str.removesuffix(COMES_WITH)
    studies = [f"studies/{name}.toml" for name in dict.fromkeys(sorted(names, reverse=True))]
    return Lessons(
        shipped,
        f"too little of your own to learn from ({format_count(len(found), 'finished case')} of "
        f"{format_count(found.n_partitions, 'partition')}). What follows rests on the lessons "
        f"that come with kdopt: {format_count(len(shipped), 'case')} of "
        f"{format_count(shipped.n_partitions, 'kind')} of partition, by {' and '.join(studies)}. "
        "Your images and models may be unlike them.",
    )


def describe_measured(source: TrainingCampaign, pair: Pair) -> str | None:
    """The verdict on a pair of a store in one line; ``None`` if nothing was tried with it."""
    rows = [
        row
        for row in source.rows
        if row.pair == pair or (row.pair is None and row.partition == pair.partition)
    ]
    if not any(row.pair == pair and row.state == "COMPLETE" for row in rows):
        return None
    table = tabulate_verdicts(CampaignResults(rows, source.campaign))
    line = table[(table[list(Pair._fields)] == list(pair)).all(axis=1)].to_dict("records")[0]
    name = f"{source.campaign.name}/{pair.partition}/{pair.label}"
    gains = [
        f"{title} {text} pp"
        for title, key in (("test gain", "test_gain"), ("net gain", "net_gain"))
        if (text := format_signed(line[key]))
    ]
    said = "; ".join([describe_verdict(line), *gains])
    return f"{said} ('kdopt best {name}' says why)"
