"""``bench.py report``: what ``kdopt report`` takes, how much memory, and how large the page is.

With Playwright and a Chromium also how long a browser takes from the page's address until what is
in sight is drawn: the median of 5 times.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.crew import run_measured
from benchmarks.store import fill, record_of, unfinished
from kdopt.campaign.stages import plan_studies
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan


def bench_report(sizes: list[str]) -> None:
    """Time the command on synthetic outcomes."""
    print(f"{'size':>5}{'trials':>10}{'report s':>10}{'peak MiB':>10}{'page MB':>9}{'opens s':>9}")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as name:
            folder = Path(name)
            store = open_store(str(folder / "kdopt.db"), create=True)
            record = record_of("bench", Artifacts(folder / "artifacts"), size)
            planned = write_plan(store, record, plan_studies)
            fill(store, unfinished(store, "bench"))
            store.close()
            seconds, peak = run_measured(
                "report", "--store", f"{folder}/kdopt.db", log=folder / "log"
            )
            page = folder / "reports" / "bench" / "report.html"
            print(f"{size:>5}{planned.trials:>10,}{seconds:>10.1f}{peak:>10.0f}"
                  f"{page.stat().st_size / 1e6:>9.1f}{_opening(page):>9}", flush=True)  # fmt: skip


def _opening(page: Path, times: int = 5) -> str:
    """Seconds until a page's visible part is drawn in a browser, or a dash where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "-"
    if not chromium:
        return "-"
    seconds = []
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--headless", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        for _ in range(times):
            opened = browser.new_page(viewport={"width": 1300, "height": 900})
            opened.set_default_timeout(60_000)
            started = time.perf_counter()
            opened.goto(page.as_uri())
            opened.wait_for_selector("body[data-drawn=yes]")
            seconds.append(time.perf_counter() - started)
            opened.close()
        browser.close()
    return f"{statistics.median(seconds):.1f}"
