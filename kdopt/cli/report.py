"""``kdopt report``: write a campaign's tables, figures and page."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kdopt.cli.inputs import folder_beside, open_store_at
from kdopt.cli.options import DEFAULT_STORE, CampaignOption, OutOption, StoreOption
from kdopt.dashboard.campaign_index import index_studies
from kdopt.features.measurements import read_measurements
from kdopt.report.blocks import ReportData
from kdopt.report.export import NO_PARQUET, write_report
from kdopt.report.images import ImageFormat
from kdopt.store.database import Store
from kdopt.store.index_studies import write_index_studies
from kdopt.store.queries import pick_campaign, read_record, read_study_counts, read_trials


class FigureFormat(StrEnum):
    """What ``--figures`` takes: the values of :data:`kdopt.report.images.ImageFormat`."""

    SVG = "svg"
    PNG = "png"
    PDF = "pdf"


PublishOption = Annotated[
    bool,
    typer.Option(
        "--publish",
        help="Also write index studies into the store, for 'kdopt dashboard': one trial per "
        "pair, sortable, with the maps. They replace those published before.",
    ),
]
FiguresOption = Annotated[
    list[FigureFormat] | None,
    typer.Option(
        "--figures",
        help="Also write every figure into 'figures/': svg, png or pdf; repeat for more. Needs "
        "kaleido (pip install 'kdopt[figures]') and a Chrome or Chromium.",
    ),
]


def report_command(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = None,
    publish: PublishOption = False,
    figures: FiguresOption = None,
) -> None:
    """Write a campaign's tables, figures and HTML page.

    You get the tables as CSV, Markdown and LaTeX, and all trials as CSV and Parquet.
    """
    opened = open_store_at(store)
    name = pick_campaign(opened, campaign)
    data = write_report_of(opened, name, out, [format_.value for format_ in figures or ()])
    if publish:
        _publish_indexes(opened, data)


def write_report_of(
    store: Store, campaign: str, out: Path | None, formats: Sequence[ImageFormat] = ()
) -> ReportData:
    """Write a campaign's report, print the names of its files, return what it was made from."""
    record = read_record(store, campaign)
    folder = out or folder_beside(store, "reports") / campaign
    data = ReportData(
        record.campaign,
        read_trials(store, campaign),
        record.settings,
        read_measurements(store, campaign),
    )
    paths = write_report(folder, data, formats)
    for path in paths:
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
    if not any(path.name == "trials.parquet" for path in paths):
        print(NO_PARQUET, file=sys.stderr)
    return data


def _publish_indexes(store: Store, data: ReportData) -> None:
    campaign = data.campaign.name
    study_ids = {state.text: state.study_id for state in read_study_counts(store, campaign)}
    studies = index_studies(data, study_ids)
    write_index_studies(store, studies)
    if not studies:
        print(
            f"{campaign}: nothing to publish; index studies show the stages tune, combine and "
            "federate",
            file=sys.stderr,
        )
    for study in studies:
        print(f"{study.name}  {len(study.entries):,} lines, {len(study.figures)} figures")
