"""What merging two stores did, as text for people and as JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import fmean

from kdopt.store.merge.merge import Merged

SHOWN = 5
"""Names shown of what differs or was left out; ``--json`` has all."""


def print_json(merged: Merged) -> None:
    """Everything, as one JSON object."""
    record = asdict(merged)
    for key in ("differing", "parted"):
        record[key] = [entry._asdict() for entry in getattr(merged, key)]
    print(json.dumps(record, indent=2))


def print_merged(merged: Merged) -> None:
    """What came over, what both have, what was left out."""
    print(
        f"{merged.campaign}: {merged.results:,} results and {merged.failures:,} failures taken "
        f"over, {merged.artifacts:,} artifacts copied, {merged.new_studies:,} studies and "
        f"{merged.new_trials:,} trials new"
    )
    print(f"both have {merged.same:,} results alike, and {len(merged.differing):,} that differ")
    if merged.from_workers:
        print(f"{merged.from_workers:,} of them were running here; their workers go on with others")
    if merged.after_failures:
        print(f"{merged.after_failures:,} of the results are of trials that had failed here")
    if merged.differing:
        _print_differing(merged)
    if merged.mixed:
        print(f"{merged.mixed:,} of the results rest on other pre-trained weights than ours")
    if merged.other_weights:
        print(
            f"left out: {merged.other_weights:,} results that rest on other pre-trained weights; "
            "--other-weights takes them too"
        )
    for study, number in merged.parted[:SHOWN]:
        print(f"left out: {study}: its sampler saw another past from trial {number} on")
    _print_hidden(len(merged.parted))
    if merged.unknown:
        print(f"left out: {merged.unknown:,} trials of cells that no spec asks for")


def _print_differing(merged: Merged) -> None:
    sizes = sorted(merged.differing, key=lambda d: -d.accuracy_pp)
    mean = fmean(d.accuracy_pp for d in sizes)
    print(
        f"those that differ stay as they were here; test accuracy differs by {mean:.2f} pp on "
        f"average, at most by {sizes[0].accuracy_pp:.2f} pp:"
    )
    for study, number, size in sizes[:SHOWN]:
        print(f"  {study} #{number}: {size:.2f} pp")
    _print_hidden(len(sizes))


def _print_hidden(n: int) -> None:
    if n > SHOWN:
        print(f"  ... and {n - SHOWN:,} more (--json shows all)")
