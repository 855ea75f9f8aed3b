from __future__ import annotations

import contextlib
import dataclasses
import itertools

import pytest
from rich.console import Console

from kdopt.cli.status_view import (
    format_eta,
    format_rate,
    list_hints,
    render_plain_text,
    render_status,
)
from kdopt.store.database import open_store
from tests.service.synthetic_status import STATES, make_status


def shown(status, width, height=None, notes=(), **options):
    """The lines that a terminal would show."""
    console = Console(
        width=width, height=height or 100, force_terminal=True, color_system=None, **options
    )
    with console.capture() as captured:
        console.print(render_status(status, console, height, notes))
    return captured.get().splitlines()


def test_a_wide_terminal_shows_every_fact():
    text = "\n".join(shown(make_status(), 200))
    assert "tiny: 25 of 72 trials complete, 2 failed, 62 per minute, ETA 1 h 0 min" in text
    for fact in ("studies", "5/14", "35 %", "12", "9 min 0 s", "3/90", "600/700", "partition4"):
        assert fact in text, fact
    for index, state in enumerate(STATES[:3]):
        line = next(line for line in text.splitlines() if f"node{index}:{1000 + index}" in line)
        assert state in line
        for fact in ("cpu", f"tune/t00-s01 #{index}", "T=2.5, alpha=0.75", "1 min 1 s"):
            assert fact in line
    assert "4 workers (1 gone, 1 lapsed, 1 silent)" in text
    assert "attempt 2" in text
    assert "2 failed, by reason" in text
    assert "1 x reason 1  (tiny/uniform/tune/t01-s00 #1)" in text
    assert "replicate" not in text  # there is only one
    assert "━" in text


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 80, 100, 132])
def test_nothing_is_wider_than_the_terminal(width):
    for line in shown(make_status(), width, height=60):
        assert len(line) <= width


def test_narrow_terminals_keep_what_matters_most():
    text = "\n".join(shown(make_status(), 50, height=50))
    for fact in ("tune", "5/14", "9 min 0 s", "gone", "1000", "partition4", "1 x reason 0"):
        assert fact in text, fact
    assert "9 min 0 s" in "\n".join(shown(make_status(), 30))


def test_who_submitted_to_slurm_is_told_that_cancelled_jobs_do_not_come_back(store_path):
    idle = dataclasses.replace(make_status(workers=0), per_minute=0.0)
    with contextlib.closing(open_store(str(store_path), create=True)) as store:
        (here,) = list_hints(idle, store)
        assert "kdopt launch local --campaign tiny --store" in here
        (store_path.parent / "logs" / "tiny" / "slurm").mkdir(parents=True)
        assert list_hints(idle, store)[0] == here
        slurm = list_hints(idle, store)[1]
        assert list_hints(make_status(), store) == []
    assert "squeue --me --name kdopt-tiny" in slurm and "PreemptMode=CANCEL" in slurm
    assert "kdopt launch slurm --campaign tiny --store" in slurm


SIZES = list(itertools.product((1, 5), (1, 5), (0, 1, 3, 200), (0, 1, 40)))


@pytest.mark.parametrize("height", [9, 12, 16, 24, 50])
@pytest.mark.parametrize("width", [40, 100])
def test_it_fits_the_height_and_says_what_is_left_out(width, height):
    for stages, partitions, workers, failures in SIZES:
        status = make_status(stages, partitions, workers, failures)
        found = shown(status, width, height)
        assert len(found) <= max(height, 2 + stages + 2), (stages, partitions, workers, failures)
        assert found[0].startswith("tiny: ")
        text = "\n".join(found)
        shown_workers = text.count("1 min 1 s")
        shown_reasons = text.count("x reason")
        if shown_workers:
            assert (f"and {workers - shown_workers} more workers" in text) == (
                shown_workers < workers
            )
        if shown_reasons:
            assert (f"and {failures - shown_reasons} more reasons" in text) == (
                shown_reasons < failures
            )
        if height >= 24:
            assert (shown_workers > 0) == (workers > 0)
            assert (shown_reasons > 0) == (failures > 0)


def test_where_all_fits_all_is_shown():
    status = make_status(5, 5, 3, 2)
    whole = shown(status, 100)
    assert shown(status, 100, len(whole)) == whole
    assert len(shown(status, 100, len(whole) - 1)) < len(whole)


def test_text_for_files_has_no_control_characters_and_no_width():
    status = make_status(workers=3)
    odd = dataclasses.replace(status.failures[0], reason="\x1b[31mred [bold]alert\x07" + "x" * 300)
    text = render_plain_text(dataclasses.replace(status, failures=(odd,)), ["a note"])
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "red [bold]alert" in text
    assert "x" * 300 in text
    assert "a note" in text
    assert "━" not in text
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert text.isascii()


def test_notes_stand_below_the_headline():
    assert shown(make_status(), 100, notes=["no answer"])[1] == "no answer"


def test_the_end_is_told_or_why_it_is_not():
    status = make_status()
    assert format_eta(status) == "1 h 0 min"
    unknown = dataclasses.replace(status, eta_s=None, eta_unknown="no worker is at work")
    assert format_eta(unknown) == "unknown (no worker is at work)"
    assert "ETA unknown (no worker is at work)" in shown(unknown, 200)[0]
    assert "ETA" not in shown(make_status(left=0), 200)[0]
    blocked = dataclasses.replace(status, blocked=7)
    assert "7 cannot start" in shown(blocked, 200)[0]


def test_a_percentage_of_100_means_all():
    stage = make_status(1).stages[0]
    almost = dataclasses.replace(stage, trials=24_750, complete=24_749, waiting=1)
    status = dataclasses.replace(make_status(1), stages=(almost,))
    assert "99 %" in render_plain_text(status)
    whole = dataclasses.replace(stage, trials=24_750, complete=24_750, waiting=0, eta_s=None)
    assert "100 %" in render_plain_text(dataclasses.replace(status, stages=(whole,)))


@pytest.mark.parametrize(
    ("per_minute", "text"),
    [(1234.5, "1,234 per minute"), (2.34, "2.3 per minute"), (0.25, "15 per hour"),
     (0.01, "0.6 per hour"), (0, "0 per hour")],
)  # fmt: skip
def test_rates_in_the_unit_that_suits_them(per_minute, text):
    assert format_rate(per_minute) == text
