"""Tuned compared with tuned: the best setting of every pair under every method that was tuned."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from kdopt.analysis.method_settings import (
    TUNED,
    average_settings,
    count_search_trials,
    describe_values,
    find_best_setting,
    get_published_key,
    list_method_names,
    name_tuned,
)
from kdopt.analysis.results import CampaignResults, list_pairs, read_number
from kdopt.analysis.stats import TIE_DECIMALS, compute_mean, compute_sd, estimate_mean
from kdopt.campaign.method_studies import tunes_points
from kdopt.outcome import Pair

TUNED_METHOD_COLUMNS = (
    "partition",
    "teacher",
    "student",
    "method",
    "transfer_set",
    "setting",
    "trials_done",
    "trials_planned",
    "validation_gain",
    "test_gain",
    "test_gain_sd",
    "replicates",
    "control_gain",
    "net_gain",
    "published_gain",
    "best",
)
TUNED_SUMMARY_COLUMNS = (
    "partition",
    "method",
    "n",
    "mean_gain",
    "low",
    "high",
    "net_gain",
    "difference",
    "difference_low",
    "difference_high",
    "times_best",
    "trials",
)


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
    plain = dict(zip(list_pairs(best), best.to_dict("records"), strict=True))
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


def _describe_plain(line: dict[Any, Any]) -> dict[str, Any]:
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
