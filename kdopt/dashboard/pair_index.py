"""What ``kdopt report --publish`` shows of pairs: a line each in an index study, and a note each.

A campaign has a study per pair, so the answer lies in hundreds of places. An index study gathers
it: a trial per pair with its gap, best temperature and alpha and gains as columns to sort by, the
maps of the report as figures, and a note. Nothing here knows a database.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kdopt.analysis.results import Line
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import describe_selection, describe_vanilla, list_headline_measures
from kdopt.campaign.names import StageName, index_study_name, pair_label, study_name
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Param, ParamValue
from kdopt.outcome import Pair
from kdopt.report.blocks import ReportData
from kdopt.report.format import (
    format_pipe_line,
    format_points,
    format_signed,
    format_title,
    join_pipe_line,
    title_partitions,
)
from kdopt.report.plotting import PlainFigure
from kdopt.report.sections.headline import HeadlineNumber, tabulate_headlines
from kdopt.report.setting_maps import MAPS
from kdopt.report.verdict_text import describe_verdict, explain_verdict
from kdopt.shown import format_count, format_setting
from kdopt.store.index_studies import IndexStudy, IndexTrial, IndexValue, StudyNote

PAIR_OBJECTIVE = "test gain by the verdict (pp)"
PAIR_GAINS = ("validation_gain", "test_gain", "control_gain", "net_gain", "vanilla_gain")
PAIRS_SHOWN = 10
"""Pairs that the note lists; the table of trials has all."""

TABLE_HINT = (
    "All trials stand in the table at the foot of *Smart Selection*, which sorts by any number."
)
REFRESH_HINT = (
    "Written by `kdopt run`, as it goes and at its end, and by `kdopt report --publish`; each time "
    "it is replaced as a whole."
)
DARK_INK = {"color": "#1b1b1b"}


def index_pairs(tables: Tables, study_ids: Mapping[str, int]) -> list[IndexStudy]:
    """One index per partition of a campaign with tuning.

    Args:
        tables: Of the campaign.
        study_ids: Ids of its studies by name, for links.
    """
    best, campaign = tables.best_settings, tables.campaign
    headline = tabulate_headlines(tables.gain_summary)
    return [
        _index_partition(str(name), best[best["partition"] == name], headline, campaign, study_ids)
        for name in best["partition"].unique()
    ]


def _index_partition(
    partition: str,
    best: pd.DataFrame,
    headline: Mapping[str, Sequence[HeadlineNumber]],
    campaign: Campaign,
    study_ids: Mapping[str, int],
) -> IndexStudy:
    # Trials of older versions allow no verdict: then what the best settings gain is shown.
    best = best.assign(shown_gain=best["advised_gain"].fillna(best["test_gain"]))
    measured = best[best["temperature"].notna()]
    return IndexStudy(
        index_study_name(campaign.name, partition),
        PAIR_OBJECTIVE,
        _make_space(best),
        {"kd:campaign": campaign.name, "kd:partition": partition, "kd:stage": "index"},
        [_make_pair_trial(line, campaign) for line in measured.to_dict("records")],
        _write_pair_note(
            partition,
            best,
            headline[format_title(campaign.get_family(partition))],
            campaign,
            study_ids,
        ),
        {
            f"{key}-map": format_figure(draw(best, campaign), title)
            for key, (title, draw) in MAPS.items()
        },
    )


def _make_pair_trial(line: Line, campaign: Campaign) -> IndexTrial:
    teacher, student = int(line["teacher"]), int(line["student"])
    known = {
        "accuracy_gap": round_hundredths(line["accuracy_gap"]),
        "temperature": _round_setting(line["temperature"]),
        "alpha": _round_setting(line["alpha"]),
        **{key: round_hundredths(line[key]) for key in PAIR_GAINS},
    }
    columns: dict[str, IndexValue] = {
        **drop_unknown(known),
        "advice": str(line["advice"]),
        "study": study_name(campaign.name, str(line["partition"]), "tune", teacher, student),
    }
    if not line["complete"]:
        columns["unfinished"] = (
            f"{line['cells_done']} of {format_count(line['cells_planned'], 'cell')}"
        )
    params: dict[str, ParamValue] = {"teacher": teacher, "student": student}
    return IndexTrial(round_hundredths(line["shown_gain"]), params, columns)


def _make_space(best: pd.DataFrame) -> dict[str, Param]:
    last = float(best[["teacher", "student"]].to_numpy().max())
    return {role: Param("int", 0, last) for role in ("teacher", "student")}


def _write_pair_note(
    partition: str,
    best: pd.DataFrame,
    headline: Sequence[HeadlineNumber],
    campaign: Campaign,
    study_ids: Mapping[str, int],
) -> str:
    titles = title_partitions([*(p.name for p in campaign.partitions), partition])
    lines = [
        f"# Best temperature and alpha: {titles[partition]}",
        "",
        f"Campaign `{campaign.name}`, partition `{partition}`: one trial per teacher-student pair, "
        f"its cell {describe_selection(campaign)}. The objective is the {PAIR_OBJECTIVE}: what the "
        f"pair gains on test by following its verdict, 0 where the student is left. {TABLE_HINT} "
        "Gaps (teacher minus student) and gains are percentage points, vanilla is "
        f"{describe_vanilla(campaign)}.",
        "",
        *_describe_state(best),
        "",
        "## On average",
        "",
        format_pipe_line(("", "Mean", "95 % interval over participants", "Pairs")),
        "|---|---:|---:|---:|",
        *(
            format_pipe_line(
                (
                    f"{measure.label} ({measure.unit})",
                    number.value or "not known",
                    f"{number.low} to {number.high}" if number.low else "",
                    str(number.n),
                )
            )
            for measure, number in zip(list_headline_measures(campaign), headline, strict=True)
        ),
        "",
        *_list_best_pairs(best, campaign, study_ids),
        REFRESH_HINT,
    ]
    return "\n".join(lines) + "\n"


def _describe_state(best: pd.DataFrame) -> list[str]:
    unmeasured = best[best["temperature"].isna()]
    incomplete = int((~best["complete"].astype(bool)).sum())
    against = int(best["advice"].isin(["leave as it is", "train on"]).sum())
    measured = len(best) - len(unmeasured)
    text = f"Measured: {measured} of {format_count(len(best), 'pair')}; not to distil: {against}."
    if incomplete:
        text += f" **Not final: {format_count(incomplete, 'pair is', 'pairs are')} incomplete.**"
    if len(unmeasured):
        text += f" Without any result, so not listed: {len(unmeasured)}."
    return [text]


def _list_best_pairs(
    best: pd.DataFrame, campaign: Campaign, study_ids: Mapping[str, int]
) -> list[str]:
    known = best[best["shown_gain"] > 0]
    top = known.sort_values("shown_gain", ascending=False, kind="stable").head(PAIRS_SHOWN)
    if top.empty:
        return []
    lines = []
    for line in top.to_dict("records"):
        teacher, student = int(line["teacher"]), int(line["student"])
        name = study_name(campaign.name, str(line["partition"]), "tune", teacher, student)
        numbers = (
            format_points(line["accuracy_gap"]),
            format_setting(line["temperature"]),
            format_setting(line["alpha"]),
            format_points(line["shown_gain"]),
            format_points(line["vanilla_gain"]),
        )
        who = campaign.describe_pair(teacher, student)
        label = format_link(pair_label(teacher, student), study_ids.get(name))
        label += f" ({who})" if who else ""
        lines.append(join_pipe_line((label, *numbers)))
    shown = f"the best {len(top)} of {len(known)}" if len(known) > len(top) else "all"
    head = ("Pair", "Gap (pp)", "T", "alpha", "Test gain (pp)", "Vanilla (pp)")
    return [
        f"## Pairs that gain ({shown})",
        "",
        format_pipe_line(head),
        "|---|---:|---:|---:|---:|---:|",
        *lines,
        "",
    ]


def format_link(text: str, study_id: int | None) -> str:
    """Markdown for a study's page in the dashboard."""
    return text if study_id is None else f"[{text}](/dashboard/studies/{study_id})"


def format_figure(figure: PlainFigure, title: str) -> str:
    """A figure of the report as the dashboard draws it: titled, as wide and high as its box.

    The box is light under every theme, so the ink is dark.
    """
    layout = {key: value for key, value in figure["layout"].items() if key != "height"}
    layout["title"] = {"text": title, "x": 0.01, "y": 0.98, "yanchor": "top", "font": {"size": 15}}
    # Room for the title and for a legend of two lines.
    layout["margin"] = {**layout["margin"], "t": layout["margin"]["t"] + 40}
    layout |= {"font": DARK_INK, "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    # Only the page's own scripts read customdata, and it makes up much of a figure's text.
    data = [{k: v for k, v in trace.items() if k != "customdata"} for trace in figure["data"]]
    text = {"data": data, "layout": layout}
    return json.dumps(text, allow_nan=False, separators=(",", ":"))


def round_hundredths(value: float) -> float:
    """As many decimals as the report shows, never -0."""
    return round(float(value), 2) + 0.0


def drop_unknown(values: Mapping[str, float]) -> dict[str, IndexValue]:
    """The values that are known; one that is not has no column, as NaN cannot be sorted."""
    return {key: value for key, value in values.items() if math.isfinite(value)}


def _round_setting(value: float) -> float:
    return float(f"{value:g}")


STAGES_OF_PAIRS: tuple[StageName, ...] = ("tune", "compare")
"""Those with a study per pair."""


def note_pairs(data: ReportData, study_ids: Mapping[str, int]) -> list[StudyNote]:
    """The notes of all pairs with a verdict.

    Args:
        data: The campaign with its trials.
        study_ids: Ids of its studies by name, its index studies too.
    """
    campaign, results = data.campaign.name, data.tables.results
    notes = []
    for line in data.tables.verdicts.to_dict("records"):
        pair = Pair(str(line["partition"]), int(line["teacher"]), int(line["student"]))
        if line["action"] == "undecided":
            continue
        said = describe_verdict(line)
        gains = [
            f"{title} **{text} pp**"
            for title, key in (
                ("Test gain", "test_gain"),
                ("without a teacher", "control_gain"),
                ("because of the teacher", "net_gain"),
            )
            if (text := format_signed(line[key]))
        ]
        index = study_ids.get(index_study_name(campaign, pair.partition))
        teacher, student = map(data.campaign.name_participant, (pair.teacher, pair.student))
        text = "\n\n".join(
            [
                f"# {pair.label}: {said}",
                f"Campaign `{campaign}`, partition `{pair.partition}`: participant {teacher} "
                f"teaches participant {student}. {', '.join(gains)}.",
                explain_verdict(line, results),
                format_link("All pairs of this partition", index) if index else "",
                REFRESH_HINT,
            ]
        )
        net = format_signed(line["net_gain"])
        short = f"{said}, net {net} pp" if net and line["action"] == "distil" else said
        notes += [
            StudyNote(study_ids[name], short, text + "\n")
            for stage in STAGES_OF_PAIRS
            if (name := study_name(campaign, *pair[:1], stage, *pair[1:])) in study_ids
        ]
    return notes
