"""Methods that are tuned over parameters of their own, and tuned compared with tuned.

A setting is selected as points are: on validation (by default), among those with the most
replicates.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.results import (
    CampaignResults,
    GainName,
    Line,
    average_gains,
    index_lines,
    read_number,
)
from kdopt.analysis.stats import TIE_DECIMALS, compute_mean, compute_sd, estimate_mean
from kdopt.campaign.method_spaces import TUNED_METHODS
from kdopt.campaign.method_studies import (
    get_published_setting,
    list_searched_methods,
    plan_settings,
    tunes_points,
)
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from kdopt.campaign.studies import SettingKey, get_setting
from kdopt.outcome import Outcome, Pair, TrialRow
from kdopt.shown import format_params

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
        return average_gains(self.outcomes).validation

    @property
    def test_gain(self) -> float:
        """Mean over replicates, pp."""
        return average_gains(self.outcomes).test

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
    """A setting in words, such as ``T=4, beta=8``; without the transfer set."""
    return format_params({n: value for n, value in setting if not isinstance(value, str)})


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


TUNED_METHOD_COLUMNS = (
    "partition", "teacher", "student", "method", "transfer_set", "setting", "trials_done",
    "trials_planned", "validation_gain", "test_gain", "test_gain_sd", "replicates", "control_gain",
    "net_gain", "published_gain", "best",
)  # fmt: skip
TUNED_SUMMARY_COLUMNS = (
    "partition", "method", "n", "mean_gain", "low", "high", "net_gain", "difference",
    "difference_low", "difference_high", "times_best", "trials",
)  # fmt: skip


def tabulate_tuned_methods(results: CampaignResults, best: pd.DataFrame) -> pd.DataFrame:
    """One line per pair and tuned method with a result, plain distillation first.

    ``setting`` is the selected setting in words; gains are in pp, means over replicates.
    ``published_gain`` is the test gain of the setting that the method's authors recommend (of
    plain distillation: vanilla). ``best`` marks the method of a pair with the greatest selected
    gain, among equals the first. Empty in a campaign that tunes temperature and alpha alone.

    Args:
        results: Trials of a campaign.
        best: From :func:`kdopt.analysis.best_settings.tabulate_best_settings`.
    """
    names = list_method_names(results)
    if not names:
        return pd.DataFrame(columns=list(TUNED_METHOD_COLUMNS))
    plain = index_lines(best)
    lines: list[dict[str, Any]] = []
    for pair in results.pairs:
        mine = [_describe_plain(plain[pair])] if tunes_points(results.campaign) else []
        mine += [_describe_method(pair, method, results) for method in names]
        known = [line for line in mine if not math.isnan(read_number(line["test_gain"]))]
        gains = [round(read_number(line[results.selected_gain]), TIE_DECIMALS) for line in known]
        for place, line in enumerate(known):
            control = results.measure_control(pair, str(line["transfer_set"])).test
            line |= {
                "control_gain": control,
                "net_gain": read_number(line["test_gain"]) - control,
                "best": place == gains.index(max(gains)),
            }
        lines += [{**pair._asdict(), **line} for line in known]
    return pd.DataFrame(lines, columns=list(TUNED_METHOD_COLUMNS))


def summarise_tuned_methods(table: pd.DataFrame) -> pd.DataFrame:
    """One line per partition and method of :func:`tabulate_tuned_methods`.

    ``mean_gain`` and ``net_gain`` are means over pairs of the test gain and of what is left of it
    beyond training on (pp). ``difference`` is the mean difference to tuned plain distillation (with
    ``[tune.search]``: with its budget searched too) over the pairs that have both.
    ``times_best`` counts the pairs of which the method was selected, ``trials`` is the mean number
    of trials per pair. Intervals are those of :mod:`kdopt.analysis.stats`.
    """
    keys = ["partition", "teacher", "student"]
    rivals = [name for name in (TUNED, name_tuned("kd")) if (table["method"] == name).any()]
    plain = table[table["method"].isin(rivals[:1])].set_index(keys)["test_gain"]
    lines: list[dict[str, Any]] = []
    for (partition, method), here in table.groupby(["partition", "method"], sort=False):
        rival = pd.Series(
            plain.reindex(pd.MultiIndex.from_frame(here[keys])).to_numpy(), here.index
        )
        mean = estimate_mean(here, here["test_gain"])
        difference = estimate_mean(here, here["test_gain"] - rival)
        alone = method in rivals[:1]
        lines.append(
            {
                "partition": partition,
                "method": method,
                "n": len(here),
                **mean.name_columns("mean_gain", "low", "high"),
                "net_gain": compute_mean(here["net_gain"]),
                **(
                    {}
                    if alone
                    else difference.name_columns("difference", "difference_low", "difference_high")
                ),
                "times_best": int(here["best"].sum()),
                "trials": compute_mean(map(float, here["trials_done"])),
            }
        )
    return pd.DataFrame(lines, columns=list(TUNED_SUMMARY_COLUMNS))


def _describe_plain(line: Line) -> dict[str, Any]:
    temperature, alpha = (read_number(line[key]) for key in ("temperature", "alpha"))
    same = ("validation_gain", "test_gain", "test_gain_sd", "replicates", "trials_done")
    return {
        **{key: line[key] for key in same},
        "method": TUNED,
        "transfer_set": "student",
        "setting": describe_values((("alpha", alpha), ("temperature", temperature))),
        "trials_planned": line["cells_planned"],
        "published_gain": line["vanilla_gain"],
    }


def _describe_method(pair: Pair, method: str, results: CampaignResults) -> dict[str, Any]:
    campaign = results.campaign
    rows = results.searched.get(pair, {}).get(method, [])
    means = average_settings(rows, method, campaign)
    published = get_published_key(campaign, method)
    known = {mean.setting: mean.test_gain for mean in means}
    found = find_best_setting(means, results.selected_gain)
    if found is None:
        return {"test_gain": math.nan}
    return {
        "method": name_tuned(method),
        "transfer_set": found.transfer_set,
        "setting": describe_values(found.setting),
        "trials_done": sum(row.state == "COMPLETE" for row in rows),
        "trials_planned": max(len(rows), count_search_trials(campaign, method)),
        "validation_gain": found.validation_gain,
        "test_gain": found.test_gain,
        "test_gain_sd": compute_sd([read_number(o.test_gain) for o in found.outcomes]),
        "replicates": len(found.outcomes),
        "published_gain": math.nan if published is None else known.get(published, math.nan),
    }
