"""Several campaigns side by side: how far their best settings, gains and verdicts agree.

Campaigns meet in the pairs that they share: those of the same partition, teacher and student
numbers. Where the participants have other images (another seed, another data set), a number stands
for another participant, and only what the partition gives to that number is shared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.method_gains import list_partitions
from kdopt.analysis.stats import TIE_DECIMALS, compute_mean, correlate_ranks
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import OVERALL, SUMMARY_COLUMNS
from kdopt.errors import ComparisonError
from kdopt.shown import format_count

PAIR_KEYS = ["partition", "teacher", "student"]
CORRELATED = ("temperature", "alpha", "effective_kd_weight", "test_gain", "net_gain")
PAIR_AGREEMENT_COLUMNS = (
    "first", "second", "partition", "same_images", "n", "same_temperature",
    "same_temperature_by_chance", "same_alpha", "same_alpha_by_chance", "same_point",
    "same_point_by_chance", *(f"{key}_correlation" for key in CORRELATED), "verdicts",
    "same_verdict",
)  # fmt: skip
VERDICT_PAIR_COLUMNS = ("first", "second", "first_verdict", "second_verdict", "n")

HEADLINES = (
    "vanilla_gain", "test_gain", "control_gain", "net_gain", "advised_gain", "advised_net_gain",
)  # fmt: skip
"""The measures of :func:`kdopt.analysis.tuning.summarise_gains` that are set side by side."""

LEAST_RANKED = 3
"""Two pairs are in the same order or in the opposite one: their rank correlation says nothing."""


class ComparedCampaign(NamedTuple):
    """One of several campaigns side by side.

    Attributes:
        label: What tells it from the others.
        tables: All tables of it.
        images: Fingerprint of its images.
        splits: Fingerprint of each partition's shares.
        settings: Its settings, and where it ran, as texts by key.
    """

    label: str
    tables: Tables
    images: str = ""
    splits: Mapping[str, str] = {}
    settings: Mapping[str, str] = {}

    def has_images_of(self, other: ComparedCampaign, partition: str) -> bool:
        """Whether the participants of a partition have the same images in both campaigns."""
        shares = self.splits.get(partition), other.splits.get(partition)
        return self.images == other.images and None not in shares and shares[0] == shares[1]


class ComparisonTables:
    """The tables of several campaigns side by side; each is computed when it is first read.

    Attributes:
        campaigns: Two or more, in order.
    """

    def __init__(self, campaigns: Sequence[ComparedCampaign]) -> None:
        check_comparable(campaigns)
        self.campaigns = campaigns

    @cached_property
    def best_settings(self) -> pd.DataFrame:
        """The best settings of all campaigns below each other, with a column ``campaign``."""
        joined = [
            campaign.tables.best_settings.assign(campaign=campaign.label)
            for campaign in self.campaigns
        ]
        table = pd.concat(joined, ignore_index=True)
        return table[["campaign", *(key for key in table.columns if key != "campaign")]]

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """One line per two campaigns that share pairs, and partition; over all partitions first.

        ``n`` counts the shared pairs with a best setting in both. Of these, ``same_temperature``,
        ``same_alpha`` and ``same_point`` (both) are shares in percent; ``..._by_chance`` is what
        they would be if the best settings of one campaign were dealt out anew among the pairs of
        each partition. Correlations are Spearman's over the shared pairs within a partition; over
        all partitions they are the mean of these. They are NaN where either campaign has one value
        only, or fewer than three pairs are known. ``verdicts`` counts the pairs with a verdict in
        both, and ``same_verdict`` those in which it is the same. ``same_images`` says whether the
        participants have the same images in both.
        """
        lines = []
        for first, second in combinations(self.campaigns, 2):
            shared = match_pairs(first.tables, second.tables)
            parts = [
                _compare_partition(name, shared[shared["partition"] == name], first, second)
                for name in list_partitions(shared)
            ]
            lines += [_sum_up(parts)] * (len(parts) > 1) + parts
        return pd.DataFrame(lines, columns=list(PAIR_AGREEMENT_COLUMNS))

    @cached_property
    def verdict_pairs(self) -> pd.DataFrame:
        """How many of the pairs that two campaigns share have each two verdicts."""
        lines = []
        for first, second in combinations(self.campaigns, 2):
            decided = _select_decided(match_pairs(first.tables, second.tables))
            counts = decided.groupby(["advice_first", "advice_second"], sort=True).size()
            lines.append(
                counts.reset_index(name="n")
                .rename(
                    columns={"advice_first": "first_verdict", "advice_second": "second_verdict"}
                )
                .assign(first=first.label, second=second.label)
            )
        return pd.concat(lines, ignore_index=True)[list(VERDICT_PAIR_COLUMNS)]

    @cached_property
    def headlines(self) -> pd.DataFrame:
        """The headline measures of every campaign, as its own table has them.

        Nothing is computed anew, so a number here is that of the campaign's own report.
        """
        tables = []
        for campaign in self.campaigns:
            summary = campaign.tables.gain_summary
            chosen = summary[summary["measure"].isin(HEADLINES)]
            tables.append(chosen.assign(campaign=campaign.label))
        return pd.concat(tables, ignore_index=True)[["campaign", *SUMMARY_COLUMNS, "image_error"]]

    @cached_property
    def differences(self) -> pd.DataFrame:
        """The settings that are not the same in all campaigns."""
        return list_setting_differences(self.campaigns)


def check_comparable(campaigns: Sequence[ComparedCampaign]) -> None:
    """Refuse campaigns that have nothing to be set side by side.

    Raises:
        ComparisonError: A campaign distils no pairs, or shares none with any of the others.
    """
    for campaign in campaigns:
        planned = campaign.tables.campaign
        if not planned.distils_pairs:
            raise ComparisonError(
                f"campaign '{campaign.label}' distils no pairs (its stages: "
                f"{', '.join(planned.all_stages)}), and campaigns meet in pairs; name campaigns "
                "with stage tune or compare"
            )
    pairs = [set(campaign.tables.results.pairs) for campaign in campaigns]
    for campaign, own in zip(campaigns, pairs, strict=True):
        others = [other for other in campaigns if other is not campaign]
        if all(own.isdisjoint(theirs) for theirs in pairs if theirs is not own):
            raise ComparisonError(
                f"campaign '{campaign.label}' ({_describe_pairs(campaign)}) shares no pair with "
                + ", ".join(f"'{other.label}' ({_describe_pairs(other)})" for other in others)
                + "; a shared pair has the same partition, teacher and student numbers: name "
                "campaigns with a partition in common"
            )


def _describe_pairs(campaign: ComparedCampaign) -> str:
    planned = campaign.tables.campaign
    names = ", ".join(partition.name for partition in planned.partitions)
    return f"{format_count(planned.participants, 'participant')} in {names}"


def match_pairs(first: Tables, second: Tables) -> pd.DataFrame:
    """A line per pair that two campaigns share, with ``..._first`` and ``..._second`` of each."""
    return first.best_settings.merge(
        second.best_settings, on=PAIR_KEYS, suffixes=("_first", "_second")
    )


def list_setting_differences(campaigns: Sequence[ComparedCampaign]) -> pd.DataFrame:
    """The settings that are not the same in all campaigns: ``key``, then a column per campaign.

    A campaign without the setting has an empty text. Keys are in the order of the first campaign,
    those that it lacks come last.
    """
    keys = dict.fromkeys(key for campaign in campaigns for key in campaign.settings)
    lines = [
        (key, *values)
        for key in keys
        if len(set(values := [c.settings.get(key, "") for c in campaigns])) > 1
    ]
    return pd.DataFrame(lines, columns=["key", *(campaign.label for campaign in campaigns)])


def _compare_partition(
    name: str, shared: pd.DataFrame, first: ComparedCampaign, second: ComparedCampaign
) -> dict[str, object]:
    known = shared.dropna(subset=["temperature_first", "temperature_second"])
    decided = _select_decided(shared)
    settings = {
        "temperature": ["temperature"],
        "alpha": ["alpha"],
        "point": ["temperature", "alpha"],
    }
    line: dict[str, object] = {
        "first": first.label,
        "second": second.label,
        "partition": name,
        "same_images": first.has_images_of(second, name),
        "n": len(known),
        "verdicts": len(decided),
        "same_verdict": int((decided["advice_first"] == decided["advice_second"]).sum()),
    }
    for setting, keys in settings.items():
        line |= _count_same(setting, known, keys)
    return line | {f"{key}_correlation": _correlate_columns(known, key) for key in CORRELATED}


def _sum_up(parts: Sequence[dict[str, object]]) -> dict[str, object]:
    """The line over all partitions."""
    table = pd.DataFrame(parts)
    counts = {key: int(table[key].sum()) for key in ("n", "verdicts", "same_verdict")}
    shares = [key for key in PAIR_AGREEMENT_COLUMNS if key.startswith("same_") and key in table]
    pairs = table["n"].to_numpy(dtype=np.float64)
    return {
        "first": parts[0]["first"],
        "second": parts[0]["second"],
        "partition": OVERALL,
        **{
            key: float((table[key].fillna(0.0) * pairs).sum() / pairs.sum())
            if pairs.sum()
            else math.nan
            for key in shares
        },
        "same_images": bool(table["same_images"].all()),
        **counts,
        **{f"{key}_correlation": compute_mean(table[f"{key}_correlation"]) for key in CORRELATED},
    }


def _select_decided(shared: pd.DataFrame) -> pd.DataFrame:
    undecided = [shared[key] == "undecided" for key in ("advice_first", "advice_second")]
    return shared[~(undecided[0] | undecided[1])]


def _count_same(setting: str, known: pd.DataFrame, keys: Sequence[str]) -> dict[str, float]:
    """How many percent of the pairs have the same settings, in fact and by chance."""
    if known.empty:
        return {f"same_{setting}": math.nan, f"same_{setting}_by_chance": math.nan}
    sides = [
        pd.Series(list(zip(*(known[f"{k}_{side}"].round(TIE_DECIMALS) for k in keys), strict=True)))
        for side in ("first", "second")
    ]
    shares = [side.value_counts(normalize=True) for side in sides]
    by_chance = math.fsum(p * float(shares[1].get(point, 0.0)) for point, p in shares[0].items())
    return {
        f"same_{setting}": 100 * float((sides[0] == sides[1]).mean()),
        f"same_{setting}_by_chance": 100 * by_chance,
    }


def _correlate_columns(known: pd.DataFrame, key: str) -> float:
    both = known[[f"{key}_first", f"{key}_second"]].dropna().round(TIE_DECIMALS)
    if len(both) < LEAST_RANKED:
        return math.nan
    return correlate_ranks(both.iloc[:, 0], both.iloc[:, 1])
