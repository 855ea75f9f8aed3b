"""The settings of methods that are tuned over parameters of their own: what was measured of each.

A setting is selected as points are: on validation (by default), among those with the most
replicates.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from kdopt.analysis.results import CampaignResults, GainName, read_number
from kdopt.analysis.stats import TIE_DECIMALS, compute_mean
from kdopt.campaign.method_spaces import TUNED_METHODS
from kdopt.campaign.method_studies import (
    get_published_setting,
    list_searched_methods,
    plan_settings,
)
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from kdopt.campaign.studies import SettingKey, get_setting
from kdopt.outcome import Outcome, Pair, TrialRow
from kdopt.shown import format_setting

TUNED = "tuned"
"""What plain distillation at the selected temperature and alpha is called in tables."""


class SettingMean(NamedTuple):
    """One measured setting of a method; gains are means over replicates, in pp.

    Attributes:
        method: The method.
        setting: Its parameters, the transfer set among them where it is searched.
        outcomes: The replicates.
        order: Among equal gains the least wins: the published setting, then the least values.
    """

    method: str
    setting: SettingKey
    outcomes: Sequence[Outcome]
    order: tuple[float, ...]

    @property
    def validation_gain(self) -> float:
        """Mean over replicates, pp."""
        return compute_mean(read_number(o.validation_gain) for o in self.outcomes)

    @property
    def test_gain(self) -> float:
        """Mean over replicates, pp."""
        return compute_mean(read_number(o.test_gain) for o in self.outcomes)

    @property
    def transfer_set(self) -> str:
        """The images it was distilled on."""
        return str(dict(self.setting).get("transfer_set", "student"))


def name_tuned(method: str | None) -> str:
    """What a tuned method is called in tables: ``tuned`` for temperature and alpha alone.

    >>> name_tuned("dkd")
    'tuned_dkd'
    """
    return TUNED if method is None else f"{TUNED}_{method}"


def is_tuned(name: str) -> bool:
    """Whether a method of a table was tuned."""
    return name == TUNED or name.startswith(f"{TUNED}_")


def describe_values(setting: SettingKey) -> str:
    """A setting in words, such as ``beta=8, temperature=4``; without the transfer set."""
    return ", ".join(
        f"{name}={format_setting(value)}" if isinstance(value, float) else f"{name}={value}"
        for name, value in setting
        if not isinstance(value, str)
    )


def rate_setting(campaign: Campaign, method: str, setting: SettingKey) -> tuple[float, ...]:
    """Sorts settings of equal gain: methods in fixed order, of each the published one first."""
    known: tuple[str, ...] = TUNED_METHODS
    place = known.index(method) if method in known else len(known)
    published = setting == get_published_key(campaign, method)
    values = (TRANSFER_SETS.index(v) if isinstance(v, str) else float(v) for _, v in setting)
    # After the methods of stage compare, and after tuned temperature and alpha.
    return (len(METHODS) + 1 + place, not published, *values)


def get_published_key(campaign: Campaign, method: str) -> SettingKey | None:
    """The setting that a method's authors recommend; ``None`` for one that is not tuned."""
    tuned = next((m for m in list_searched_methods(campaign) if m == method), None)
    return None if tuned is None else get_setting(get_published_setting(campaign, tuned))


def average_settings(
    rows: Sequence[TrialRow], method: str, campaign: Campaign
) -> list[SettingMean]:
    """The complete settings of one pair's rows of a method; those without gains are left out."""
    found: dict[SettingKey, list[Outcome]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row.params.get("replicate", 0))):
        if row.state == "COMPLETE" and row.outcome is not None and row.params:
            found[get_setting(row.params)].append(row.outcome)
    means = [
        SettingMean(method, setting, outcomes, rate_setting(campaign, method, setting))
        for setting, outcomes in found.items()
    ]
    return [m for m in means if math.isfinite(m.validation_gain) and math.isfinite(m.test_gain)]


def list_settings_of_pair(pair: Pair, results: CampaignResults) -> list[SettingMean]:
    """Everything that was measured of a pair's methods with parameters of their own."""
    searched = results.searched.get(pair, {})
    return [
        mean
        for method, rows in searched.items()
        for mean in average_settings(rows, method, results.campaign)
    ]


def find_best_setting(means: Sequence[SettingMean], gain: GainName) -> SettingMean | None:
    """The setting of greatest gain; only those with the most replicates compete."""

    def key(mean: SettingMean) -> tuple[float, ...]:
        value: float = getattr(mean, gain)
        return (-len(mean.outcomes), -round(value, TIE_DECIMALS), *mean.order)

    return min(means, key=key, default=None)


def list_method_names(results: CampaignResults) -> list[str]:
    """The methods with studies of their own, planned or in the store, in fixed order."""
    met = {method for methods in results.searched.values() for method in methods}
    met |= set(list_searched_methods(results.campaign))
    return [m for m in TUNED_METHODS if m in met] + sorted(met - set(TUNED_METHODS))


def count_search_trials(campaign: Campaign, method: str) -> int:
    """Trials that a method's study of one pair has when it is complete; 0 if it is not tuned."""
    tuned = next((m for m in list_searched_methods(campaign) if m == method), None)
    if tuned is None:
        return 0
    settings, n_open = plan_settings(campaign, tuned)
    return (len(settings) + n_open) * campaign.replicates
