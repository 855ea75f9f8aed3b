"""What several commands do: open a store, plan a spec, write a report."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdopt.campaign.spec import Spec
    from kdopt.data.datasets import Dataset
    from kdopt.report.images import ImageFormat
    from kdopt.store.artifacts.artifacts import Artifacts
    from kdopt.store.database import Store
    from kdopt.store.planning import Planned


def tolerate_narrow_encodings() -> None:
    """Let stdout write ``?`` for what its encoding lacks, rather than fail."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def load(path: Path) -> tuple[Spec, Dataset]:
    """Read a spec and its images, and check that its model fits them."""
    from kdopt.campaign.spec import load_spec
    from kdopt.data.datasets import load_dataset
    from kdopt.service.planner import check_model

    loaded = load_spec(path)
    dataset = load_dataset(loaded.campaign)
    check_model(loaded.campaign, dataset)
    return loaded, dataset


def plan_spec(
    path: Path, location: str, place: str | None
) -> tuple[Store, Artifacts, Spec, Planned]:
    """Plan a campaign file into a store that is made where there is none."""
    from kdopt.service.planner import draw_splits, plan_campaign
    from kdopt.store.database import open_store

    # What is wrong with the file or the images comes out before a store is made.
    loaded, dataset = load(path)
    splits = draw_splits(loaded.campaign, dataset)
    opened = open_store(location, create=True)
    artifacts = artifacts_of(opened, place)
    return opened, artifacts, loaded, plan_campaign(loaded, dataset, splits, opened, artifacts)


def open_at(location: str, patient: bool = False) -> Store:
    """Open a store; ``patient``: wait for a database that is starting."""
    from kdopt.store.database import RETRY_S, open_store

    return open_store(location, patience_s=RETRY_S if patient else 0.0)


def artifacts_of(store: Store, place: str | None) -> Artifacts:
    """The artifacts of a store: at ``place``, or beside it."""
    from kdopt.store.artifacts.artifacts import Artifacts

    return Artifacts(place or beside(store, "artifacts"))


def beside(store: Store, name: str) -> Path:
    """A folder beside an SQLite file; in ``storage/`` for a database server."""
    if store.dialect == "sqlite":
        return Path(str(store.url.database)).absolute().parent / name
    return Path("storage").absolute() / name


def print_planned(campaign: str, planned: Planned) -> None:
    """Say what planning a campaign found and added."""
    print(
        f"{campaign}: {planned.studies:,} studies, {planned.trials:,} trials planned "
        f"({planned.new_studies:,} studies and {planned.new_trials:,} trials new)"
    )


def write_report_of(
    store: Store, campaign: str, out: Path | None, formats: Sequence[ImageFormat] = ()
) -> None:
    """Write a campaign's report and print the names of its files."""
    from kdopt.features.facts_store import read_facts
    from kdopt.report.files import write_report
    from kdopt.report.tree_view import advice_parts
    from kdopt.report.trials_table import NO_PARQUET
    from kdopt.store.rows import read_record, read_trials

    record = read_record(store, campaign)
    rows, facts = read_trials(store, campaign), read_facts(store, campaign)
    folder = out or beside(store, "reports") / campaign
    parts, texts = advice_parts(record.campaign, rows, facts)
    paths = write_report(
        folder,
        record.campaign,
        rows,
        record.settings,
        facts=facts,
        more=parts,
        texts=texts,
        formats=formats,
    )
    for path in paths:
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
    if not any(path.name == "trials.parquet" for path in paths):
        print(NO_PARQUET, file=sys.stderr)
