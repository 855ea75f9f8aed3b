"""``kdopt report``: tables, figures and page of a campaign, or of several side by side."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from kdopt.campaign.names import CAMPAIGN_NAME
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import campaign_folder, open_store_at
from kdopt.cli.options import DEFAULT_STORE, CampaignOption, OutOption, StoreOption
from kdopt.cli.process import pause_garbage_collection
from kdopt.cli.results_so_far import publish_indexes, read_report_data
from kdopt.cli.tables import print_text
from kdopt.dashboard.live_page import RenderedPage, make_page_server
from kdopt.errors import ComparisonError
from kdopt.report.blocks import ReportData
from kdopt.report.export import NO_PARQUET, make_compared_campaign, write_comparison, write_report
from kdopt.report.images import ImageFormat
from kdopt.report.page import make_sections, render_page
from kdopt.shown import format_count
from kdopt.store.database import Store
from kdopt.store.queries import pick_campaign, read_record, read_trials

DRAWING = "making tables, figures and the page"


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


WatchPageOption = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Write nothing: serve the page on 127.0.0.1, made anew while workers run.",
    ),
]
PagePortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of --watch.")]

CampaignsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CAMPAIGN",
        help="The campaign; several are shown side by side. CAMPAIGN@STORE is one of another "
        "store, a path or an SQLAlchemy URL.",
        show_default=False,
    ),
]


def report_command(
    campaigns: CampaignsArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = None,
    publish: PublishOption = False,
    figures: FiguresOption = None,
    watch: WatchPageOption = False,
    port: PagePortOption = 8090,
) -> None:
    """Write a campaign's tables, figures and HTML page.

    You get the tables as CSV, Markdown and LaTeX, and all trials as CSV and Parquet. Several
    campaigns get one page: their maps in one figure, how far they agree, and what differs.
    """
    _check_arguments(campaigns or [], campaign, publish, watch)
    formats: list[ImageFormat] = [format_.value for format_ in figures or ()]
    if campaigns and len(campaigns) > 1:
        with pause_garbage_collection(), ExitStack() as opened_stores:
            found = _open_campaigns(campaigns, store, opened_stores)
            _write_comparison_of(found, out, formats)
        return
    named, location = _split_name(campaigns[0], store) if campaigns else (campaign, store)
    with closing(open_store_at(location)) as opened:
        name = pick_campaign(opened, named)
        if watch:
            _serve_page(opened, name, port)
            return
        with pause_garbage_collection():
            data = _write_report_of(opened, name, out, formats)
            if publish:
                _publish_indexes(opened, data)


class _StoredCampaign(NamedTuple):
    store: Store
    name: str


def _check_arguments(
    campaigns: Sequence[str], campaign: str | None, publish: bool, watch: bool
) -> None:
    if campaigns and campaign is not None:
        raise ComparisonError(
            f"--campaign {campaign} beside {', '.join(campaigns)}: campaigns are named either as "
            "arguments or with --campaign; leave out --campaign"
        )
    if watch and len(campaigns) > 1:
        raise ComparisonError(
            f"--watch beside {', '.join(campaigns)}: one campaign is watched at a time; name one"
        )
    if publish and len(campaigns) > 1:
        raise ComparisonError(
            f"--publish beside {', '.join(campaigns)}: index studies are those of one campaign; "
            "publish each campaign alone"
        )


def _split_name(text: str, store: str) -> tuple[str, str]:
    """The campaign and the store of ``CAMPAIGN`` or ``CAMPAIGN@STORE``."""
    # No name of a campaign has an @, but the URL of a store may have another.
    name, _, location = text.partition("@")
    if not CAMPAIGN_NAME.match(name):
        # Not shown: what was meant as a URL may hold a password.
        raise ComparisonError(
            "the campaign to report on cannot be read; write CAMPAIGN or CAMPAIGN@STORE"
        )
    return name, location or store


def _open_campaigns(
    campaigns: Sequence[str], store: str, until: ExitStack
) -> list[_StoredCampaign]:
    """Open what was named, each store once, and refuse a campaign that was named twice."""
    stores: dict[str, Store] = {}
    found: list[_StoredCampaign] = []
    for text in campaigns:
        name, location = _split_name(text, store)
        if location not in stores:
            stores[location] = until.enter_context(closing(open_store_at(location)))
        opened = stores[location]
        one = _StoredCampaign(opened, pick_campaign(opened, name))
        if any(one.name == other.name and _is_same(opened, other.store) for other in found):
            raise ComparisonError(
                f"campaign '{one.name}' of store {opened.label} is named twice, and a campaign "
                "agrees with itself; name each once, or one of another store as "
                f"{one.name}@STORE"
            )
        found.append(one)
    return found


def _is_same(one: Store, other: Store) -> bool:
    """Whether two stores are one, in whatever way their paths are written."""
    if one.dialect == other.dialect == "sqlite":
        paths = [Path(str(store.url.database)).resolve() for store in (one, other)]
        return paths[0] == paths[1]
    return one.url == other.url


def _write_comparison_of(
    campaigns: Sequence[_StoredCampaign], out: Path | None, formats: Sequence[ImageFormat]
) -> None:
    names = Counter(one.name for one in campaigns)
    compared = []
    for one in campaigns:
        title = one.name if names[one.name] == 1 else f"{one.name}@{one.store.label}"
        with say_if_slow(f"reading the trials of {title}"):
            record = read_record(one.store, one.name)
            rows = read_trials(one.store, one.name)
            compared.append(make_compared_campaign(title, record, rows))
    names_given = [one.name for one in campaigns]
    folder = out or campaign_folder(campaigns[0].store, "reports", *names_given)
    with say_if_slow(DRAWING):
        paths = write_comparison(folder, compared, formats)
    _print_paths(paths)


def _write_report_of(
    store: Store, campaign: str, out: Path | None, formats: Sequence[ImageFormat]
) -> ReportData:
    """Write a campaign's report, print the names of its files, return what it was made from."""
    with say_if_slow(f"reading the trials of {campaign}"):
        data = read_report_data(store, campaign)
    with say_if_slow(DRAWING):
        paths = write_report(choose_report_folder(store, campaign, out), data, formats)
    _print_paths(paths)
    if not any(path.name == "trials.parquet" for path in paths):
        print(NO_PARQUET, file=sys.stderr)
    return data


def _serve_page(store: Store, campaign: str, port: int) -> None:
    def render() -> RenderedPage:
        data = read_report_data(store, campaign)
        left = any(row.state in ("WAITING", "RUNNING") for row in data.rows)
        return RenderedPage(render_page(data, make_sections(data)), final=not left)

    with make_page_server(render, port) as server:
        print(f"http://127.0.0.1:{server.server_port}  (Ctrl-C stops it)", flush=True)
        server.serve_forever()


def choose_report_folder(store: Store, campaign: str, out: Path | None) -> Path:
    """Where a campaign's report goes."""
    return out or campaign_folder(store, "reports", campaign)


def _print_paths(paths: Iterable[Path]) -> None:
    for path in paths:
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)


def _publish_indexes(store: Store, data: ReportData) -> None:
    with say_if_slow("publishing the index studies"):
        studies = publish_indexes(store, data)
    if not studies:
        print_text(
            f"{data.campaign.name}: nothing to publish; index studies show the stages tune, "
            "combine and federate",
            stderr=True,
        )
    for study in studies:
        print_text(
            f"{study.name}: {format_count(len(study.entries), 'line')}, "
            f"{format_count(len(study.figures), 'figure')}"
        )
