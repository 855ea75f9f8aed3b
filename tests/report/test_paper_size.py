"""A report of the paper's size: 450 pairs with 55 cells each, and 5,400 trials of the comparison.

Memory and size are held to their limits. How long it takes is ``scripts/bench.py report``'s to say;
the limits on processor time here are several times that, for a loop that went wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.browser import PATIENCE_MS

SCRIPT = """
import json, sys, time
from pathlib import Path
from kdopt.campaign.settings import PartitionSettings
from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import ALPHAS, TEMPERATURES, compare_campaign, compare_rows, make_rows

campaign = compare_campaign(
    participants=10, tune_temperatures=TEMPERATURES, tune_alphas=ALPHAS
)
rows = make_rows(campaign) + compare_rows(campaign)
started = time.process_time()
paths = write_report(Path(sys.argv[1]), ReportData(campaign, rows))
# Not getrusage's peak: that begins with the peak of the process that started this one.
status = Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({
    "rows": len(rows),
    "seconds": time.process_time() - started,
    "kilobytes": int(peak.split()[1]),
    "page": str(paths[-1]),
    "bytes": paths[-1].stat().st_size,
}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    end = subprocess.run(command, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stderr
    return json.loads(end.stdout)


def test_it_fits_in_a_gibibyte_and_ends(made):
    assert made["rows"] == 450 * 55 + 450 * 12 + 50
    assert made["seconds"] < 120
    assert made["kilobytes"] < 1024**2
    assert made["bytes"] < 15e6


def test_the_page_opens(made, browser):
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    meter = context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(f"file://{made['page']}")
    page.wait_for_selector("body[data-drawn=yes]")
    measured = meter.send("Performance.getMetrics")["metrics"]
    busy = {metric["name"]: metric["value"] for metric in measured}
    assert busy["ThreadTime"] < 20
    assert page.locator("#pairs [data-pair]").count() == 450
    context.close()
