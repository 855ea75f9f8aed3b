"""The paper's claims: what was measured for each, on the page and in files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.paper.judging import CAVEAT, RULE, Claim, Contrast
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import Block, ReportData, Section
from kdopt.report.export_columns import name_export_column
from kdopt.report.format import (
    escape_markdown,
    format_chance,
    format_csv,
    format_exact,
    format_pipe_table,
    format_points,
    format_transfer_set,
)
from kdopt.report.plotting import METHOD_STYLES, format_method

CLAIM_COLUMNS = (
    "claim", "paper", "verdict", "contrast", "value", "low", "high", "unit", "n", "claimed_range",
    "chance_inside", "chance_outside", "contrast_verdict", "remark", "need",
)  # fmt: skip


_FAMILIES = "uniform|quantity_skew|specialized|label_chunks|label_dirichlet"
_STORED_NAMES = re.compile(rf"\b({_FAMILIES}|public_[a-z]+(?:_[a-z]+)*|dp_kd|dml)(?:-([0-9]+))?\b")


def make_claims_section(data: ReportData) -> Section:
    """The section on the paper's claims."""
    claims = judge_claims(data.tables)
    # Numbers are found by the names that the store has; people read those of the other tables.
    shown = [
        claim._replace(
            contrasts=tuple(c._replace(label=format_names(c.label)) for c in claim.contrasts),
            remark=format_names(claim.remark),
        )
        for claim in claims
    ]
    # Without pairs most claims have nothing: then what to run for them is enough.
    values = {
        "claims": shown,
        "show_empty": data.has_pairs,
        "format_points": format_points,
        "describe_chance": describe_chance,
    }
    return Section(
        "claims",
        "The paper's claims",
        f"{RULE} {CAVEAT}",
        [Block(template="claims.html.j2", values=values)],
        short_title="Claims",
        folded=True,
        files={
            "claims.csv": format_claims_csv(claims),
            "claims.md": format_claims_markdown(claims, data.campaign),
        },
    )


def format_names(text: str) -> str:
    """A text of the claims with names as people read them: ``dp_kd`` and ``uniform-2``, say.

    >>> format_names("label_chunks-2, public_labeled: vanilla - dp_kd")
    'label chunks (draw 2), public labeled: vanilla - DP-KD'
    """

    def replace(found: re.Match[str]) -> str:
        name, draw = found[1], found[2]
        if name in METHOD_STYLES:
            return format_method(name)
        words = format_transfer_set(name).lower() if name.startswith("public") else name
        return words.replace("_", " ") + (f" (draw {draw})" if draw else "")

    return _STORED_NAMES.sub(replace, text)


def format_claims_csv(claims: Iterable[Claim]) -> str:
    """One line per contrast; a claim without any has one line with empty numbers."""
    lines: list[list[str]] = []
    for claim in claims:
        numbers = [_list_numbers(contrast) for contrast in claim.contrasts] or [[""] * 10]
        lines += [
            [claim.id, claim.paper, claim.verdict, *n, claim.remark, claim.need] for n in numbers
        ]
    return format_csv(map(name_export_column, CLAIM_COLUMNS), lines)


def format_claims_markdown(claims: Sequence[Claim], campaign: Campaign) -> str:
    """The rule, then one line per claim with everything that was measured for it."""
    lines = []
    for claim in claims:
        measured = "; ".join(format_contrast(c) for c in claim.contrasts)
        remark = " ".join(filter(None, (claim.remark, _explain_need(claim))))
        lines.append([claim.id, claim.paper, measured, claim.verdict, remark])
    about = f"Claims of the paper's sections IV and V in campaign {campaign.name}. {RULE}"
    head = ["Claim", "The paper says", "Measured (95 % interval)", "Verdict", "Remark"]
    parts = [escape_markdown(about), escape_markdown(CAVEAT), format_pipe_table(head, lines)]
    return "\n\n".join(parts) + "\n"


def format_contrast(contrast: Contrast) -> str:
    """One contrast as people read it, with its own verdict."""
    if contrast.n == 0:
        return f"{contrast.label}: no data"
    interval = (
        f" [{format_points(contrast.low)}, {format_points(contrast.high)}]"
        if not math.isnan(contrast.low)
        else ""
    )
    unit = f" {contrast.unit}" if contrast.unit else ""
    return (
        f"{contrast.label}: {format_points(contrast.value)}{interval}{unit}, n = {contrast.n}, "
        f"claimed {contrast.claimed}: {contrast.verdict}{describe_chance(contrast)}"
    )


def describe_chance(contrast: Contrast) -> str:
    """How likely chance alone gives what decided a contrast; nothing for an undecided one."""
    chances = {"supported": contrast.inside, "contradicted": contrast.outside}
    if contrast.verdict not in chances:
        return ""
    return f" (chance {format_chance(chances[contrast.verdict])})"


def _explain_need(claim: Claim) -> str:
    if not claim.need:
        return ""
    return f"{'No data' if claim.verdict == 'no data' else 'What is missing'}: {claim.need}."


def _list_numbers(contrast: Contrast) -> list[str]:
    return [
        contrast.label,
        *(format_points(value) for value in (contrast.value, contrast.low, contrast.high)),
        contrast.unit,
        str(contrast.n),
        contrast.claimed,
        format_exact(contrast.inside),
        format_exact(contrast.outside),
        contrast.verdict,
    ]
