"""All index studies of a campaign, and the one on many teachers: all models of a partition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kdopt.analysis.results import Line
from kdopt.analysis.tables import Tables
from kdopt.campaign.federated_algorithms import FEDAVG
from kdopt.campaign.names import StageName, index_study_name, study_name
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Param
from kdopt.dashboard.pair_index import (
    REFRESH_HINT,
    TABLE_HINT,
    drop_unknown,
    format_figure,
    format_link,
    index_pairs,
    round_hundredths,
)
from kdopt.report.blocks import ReportData
from kdopt.report.format import (
    format_algorithm,
    format_pipe_line,
    format_points,
    format_title,
    format_transfer_set,
    join_pipe_line,
    title_partitions,
)
from kdopt.report.sections.federated import draw_federated
from kdopt.report.sections.table_two_figure import draw_combined
from kdopt.shown import format_count
from kdopt.store.index_studies import IndexStudy, IndexTrial

COMBINED_OBJECTIVE = "test accuracy (%)"
BOUND_COUNTS = ("exact", "at_least", "at_most", "unknown")
FINAL_COLUMNS = {"random_final": "random", "consolidated_final": "consolidated"}


def index_studies(data: ReportData, study_ids: Mapping[str, int]) -> list[IndexStudy]:
    """All that is published of a campaign; nothing of one that only compares or pre-trains.

    Args:
        data: The campaign with its trials.
        study_ids: Ids of its studies by name, for links.
    """
    studies = index_pairs(data.tables, study_ids) if data.has_tuning else []
    if data.shows_stage("combine", "federate"):
        studies.append(_index_combined(data.tables, study_ids))
    return studies


def _index_combined(tables: Tables, study_ids: Mapping[str, int]) -> IndexStudy:
    campaign = tables.campaign
    planned = (p.name for p in campaign.partitions)
    partitions = dict.fromkeys(
        [*planned, *tables.combined["partition"], *tables.algorithms["partition"]]
    )
    return IndexStudy(
        index_study_name(campaign.name),
        COMBINED_OBJECTIVE,
        {
            "partition": Param("category", choices=tuple(map(str, partitions))),
            "way": Param("category", choices=("combine", "federate")),
        },
        {"kd:campaign": campaign.name, "kd:stage": "index"},
        [
            *_list_combined_trials(campaign, tables.combined),
            *_list_federated_trials(campaign, tables.algorithms),
        ],
        _write_campaign_note(campaign, tables, study_ids),
        _format_figures(tables),
    )


def _format_figures(tables: Tables) -> dict[str, str]:
    drawn = {}
    if len(tables.combined):
        drawn["table-ii"] = format_figure(
            draw_combined(tables.combined), "Table II: every way of combining"
        )
    if len(tables.federated_curves):
        drawn["fig-9"] = format_figure(
            draw_federated(tables.federated_curves, tables.federated_levels),
            "Fig. 9: federated averaging",
        )
    return drawn


def _list_combined_trials(campaign: Campaign, combined: pd.DataFrame) -> list[IndexTrial]:
    numbers = ("validation_accuracy", "gain", "paper_accuracy")
    return [
        IndexTrial(
            round_hundredths(line["accuracy"]),
            {"partition": str(line["partition"]), "way": "combine"},
            {
                "transfer_set": str(line["transfer_set"]),
                "start": str(line["start"]),
                "weighting": str(line["weighting"]),
                **drop_unknown({key: round_hundredths(line[key]) for key in numbers}),
                "replicates": int(line["replicates"]),
                "study": study_name(campaign.name, str(line["partition"]), "combine"),
            },
        )
        for line in combined.to_dict("records")
    ]


def _list_federated_trials(campaign: Campaign, algorithms: pd.DataFrame) -> list[IndexTrial]:
    found = []
    for line in algorithms.to_dict("records"):
        partition, algorithm = str(line["partition"]), str(line["algorithm"])
        other = None if algorithm == FEDAVG else algorithm
        found.append(
            IndexTrial(
                round_hundredths(line["final_accuracy"]),
                {"partition": partition, "way": "federate"},
                {
                    **({} if other is None else {"algorithm": format_algorithm(other)}),
                    "start": f"{line['initial_model']} weights",
                    "rounds": campaign.federate.rounds,
                    "study": study_name(campaign.name, partition, "federate", method=other),
                },
            )
        )
    return found


def _write_campaign_note(campaign: Campaign, tables: Tables, study_ids: Mapping[str, int]) -> str:
    lines = [
        f"# Many teachers: {campaign.name}",
        "",
        f"Campaign `{campaign.name}`: one trial per way from all participants of a partition to "
        f"one model, and its {COMBINED_OBJECTIVE}. Way `combine` is distillation from all of them "
        "(Table II of the paper), way `federate` "
        f"{format_count(campaign.federate.rounds, 'round')} of federated averaging (Fig. 9), or "
        f"of the algorithm that a trial names. {TABLE_HINT}",
        "",
        *_list_best_ways(campaign, tables, study_ids),
        *_list_rounds_saved(tables),
        *_list_pair_studies(campaign),
        REFRESH_HINT,
    ]
    return "\n".join(lines) + "\n"


def _list_best_ways(campaign: Campaign, tables: Tables, study_ids: Mapping[str, int]) -> list[str]:
    levels = {str(line["partition"]): line for line in tables.federated_levels.to_dict("records")}
    lines = []
    for partition, title in title_partitions(p.name for p in campaign.partitions).items():
        here = tables.combined[tables.combined["partition"] == partition]
        ways: Sequence[Line] = here.to_dict("records")
        chosen = max(ways, key=lambda line: float(line["validation_accuracy"]), default={})
        way = (
            f"{format_transfer_set(chosen['transfer_set'])}, start {chosen['start']}, "
            f"{format_title(chosen['weighting']).lower()}"
            if chosen
            else "nothing yet"
        )
        known = levels.get(partition, {})
        best, *finals = (
            format_points(float(known.get(key, math.nan)))
            for key in ("best_participant", *FINAL_COLUMNS)
        )
        lines.append(
            join_pipe_line(
                (
                    title,
                    _link_study(campaign, partition, "combine", way, study_ids),
                    format_points(float(chosen.get("accuracy", math.nan))),
                    best,
                    _link_study(campaign, partition, "federate", finals[0], study_ids),
                    finals[1],
                )
            )
        )
    head = (
        "Partition",
        "Best way of combining (on validation)",
        "Test (%)",
        "Best participant (%)",
        "FedAvg (%)",
        "KD, then FedAvg (%)",
    )
    return [
        "## By partition",
        "",
        format_pipe_line(head),
        "|---|---|---:|---:|---:|---:|",
        *lines,
        "",
    ]


def _link_study(
    campaign: Campaign, partition: str, stage: StageName, text: str, study_ids: Mapping[str, int]
) -> str:
    name = study_name(campaign.name, partition, stage)
    return format_link(text, study_ids.get(name)) if text else ""


def _list_rounds_saved(tables: Tables) -> list[str]:
    known = tables.reductions
    if known.empty:
        return []
    lines = [
        format_pipe_line(
            (
                str(line["label"]),
                format_points(line["reduction"]),
                str(line["partitions"]),
                f"{line['exact']} of {sum(line[key] for key in BOUND_COUNTS)}",
            )
        )
        for line in known.to_dict("records")
    ]
    head = format_pipe_line(
        ("Target", "Rounds saved by KD, mean (%)", "Partitions", "Known exactly")
    )
    return [
        "## Rounds to a target",
        "",
        head,
        "|---|---:|---:|---:|",
        *lines,
        "",
        "Where a run never gets there, the reduction is a bound; it enters the mean all the same.",
        "",
    ]


def _list_pair_studies(campaign: Campaign) -> list[str]:
    if "tune" not in campaign.stages:
        return []
    names = (index_study_name(campaign.name, p.name) for p in campaign.partitions)
    return [f"Pairs of teacher and student: {', '.join(f'`{name}`' for name in names)}.", ""]
