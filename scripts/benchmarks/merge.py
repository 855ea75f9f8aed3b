"""``bench.py merge``: what taking over another site's results costs.

The other store is an SQLite file in which all is done but the last trial of each study; it is
merged into one where half of that is done too, once more, and into one that has nothing.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

from benchmarks.store import fill, record_of, timed, unfinished
from kdopt.campaign.stages import plan_studies
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.merge import Site, merge_campaign
from kdopt.store.planning import write_plan

COLUMNS = ("size", "trials", "taken of half", "s", "again s", "taken of all", "s", "peak MB")


def bench_merge(url: str | None, sizes: list[str]) -> None:
    """Print a line per size, for an empty database or new SQLite files."""
    print("  ".join(COLUMNS))
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
            line = _measure(Path(folder), url, size)
        pairs = zip((str(value) for value in line), (len(c) for c in COLUMNS), strict=True)
        print("  ".join(f"{text:>{width}}" for text, width in pairs), flush=True)


def _measure(folder: Path, url: str | None, size: str) -> tuple[object, ...]:
    shelf = Artifacts(folder / "artifacts")

    def opened(name: str) -> Store:
        return open_store(url or str(folder / f"{name}.db"), create=True)

    names = [f"merge-{size.replace('.', '')}-{what}" for what in ("half", "all")]
    records = [record_of(name, shelf, size) for name in names]
    other = open_store(str(folder / "other.db"), create=True)
    for record in records:
        planned = write_plan(other, record, plan_studies)
        fill(other, unfinished(other, record.campaign.name))
    here = opened("here")
    write_plan(here, records[0], plan_studies)
    fill(here, [line for line in unfinished(here, names[0]) if line.number % 2])
    sites = Site(here, shelf), Site(other, shelf)
    half_s, half = timed(lambda: merge_campaign(*sites, names[0]))
    again_s, again = timed(lambda: merge_campaign(*sites, names[0]))
    all_s, everything = timed(lambda: merge_campaign(*sites, names[1]))
    assert again.results == 0 < half.same < again.same == everything.results
    assert again.differing == []
    for store in (here, other):
        store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return (
        size, planned.trials, half.results, round(half_s, 2), round(again_s, 2),
        everything.results, round(all_s, 2), round(peak),
    )  # fmt: skip
