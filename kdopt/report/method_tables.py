"""Claims as text: CSV and Markdown. Formats are those of the other tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdopt.analysis.paper.judging import CAVEAT, RULE, Claim, Contrast
from kdopt.campaign.settings import Campaign
from kdopt.report.tables import csv_text, markdown_escape, pipe_line, points

CLAIM_COLUMNS = (
    "claim",
    "paper",
    "verdict",
    "contrast",
    "value",
    "low",
    "high",
    "unit",
    "n",
    "claimed_range",
    "contrast_verdict",
    "remark",
    "need",
)


def claims_csv(claims: Iterable[Claim]) -> str:
    """One line per contrast; a claim without any has one line with empty numbers."""
    lines: list[list[str]] = []
    for claim in claims:
        numbers = [_numbers(contrast) for contrast in claim.contrasts] or [[""] * 8]
        lines += [
            [claim.id, claim.paper, claim.verdict, *n, claim.remark, claim.need] for n in numbers
        ]
    return csv_text(CLAIM_COLUMNS, lines)


def claims_markdown(claims: Sequence[Claim], campaign: Campaign) -> str:
    """The rule, then one line per claim with everything that was measured for it."""
    lines = [
        markdown_escape(
            f"Claims of the paper's sections IV and V in campaign {campaign.name}. {RULE}"
        ),
        "",
        markdown_escape(CAVEAT),
        "",
        pipe_line(["Claim", "The paper says", "Measured (95 % interval)", "Verdict", "Remark"]),
        pipe_line(["---"] * 5),
    ]
    for claim in claims:
        measured = "; ".join(contrast_text(c) for c in claim.contrasts)
        remark = " ".join(filter(None, (claim.remark, _needed(claim))))
        lines.append(pipe_line([claim.id, claim.paper, measured, claim.verdict, remark]))
    return "\n".join(lines) + "\n"


def contrast_text(contrast: Contrast) -> str:
    """One contrast as people read it, with its own verdict."""
    if contrast.n == 0:
        return f"{contrast.label}: no data"
    interval = f" [{points(contrast.low)}, {points(contrast.high)}]" if contrast.n > 1 else ""
    unit = f" {contrast.unit}" if contrast.unit else ""
    return (
        f"{contrast.label}: {points(contrast.value)}{interval}{unit}, n = {contrast.n}, "
        f"claimed {contrast.claimed}: {contrast.verdict}"
    )


def _needed(claim: Claim) -> str:
    if not claim.need:
        return ""
    return f"{'No data' if claim.verdict == 'no data' else 'What is missing'}: {claim.need}."


def _numbers(contrast: Contrast) -> list[str]:
    return [
        contrast.label,
        *(points(value) for value in (contrast.value, contrast.low, contrast.high)),
        contrast.unit,
        str(contrast.n),
        contrast.claimed,
        contrast.verdict,
    ]
