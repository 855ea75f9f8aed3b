"""A note on each pair's own studies in the dashboard: its verdict, why, and what it gains."""

from __future__ import annotations

from collections.abc import Mapping

from kdopt.campaign.names import StageName, index_study_name, study_name
from kdopt.dashboard.pair_index import REFRESH_HINT, format_link
from kdopt.outcome import Pair
from kdopt.report.blocks import ReportData
from kdopt.report.format import format_signed
from kdopt.report.verdict_text import describe_verdict, explain_verdict
from kdopt.store.index_studies import StudyNote

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
