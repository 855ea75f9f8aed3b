"""Table II of the paper for papers of your own: in Markdown and in LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from kdopt.campaign.settings import Campaign
from kdopt.report.format import (
    escape_latex,
    escape_markdown,
    format_points,
    format_transfer_set,
    format_words,
    join_pipe_table,
    title_partitions,
)
from kdopt.report.sections.table_two import CombinedEntry, TableTwo, format_entry, make_table_two


def format_combined_markdown(combined: pd.DataFrame, campaign: Campaign) -> str:
    """Table II as a Markdown pipe table under a sentence; the paper's numbers below ours."""
    table = make_table_two(combined)
    headings = [
        escape_markdown(
            f"{format_transfer_set(group.transfer_set)}, {format_words(group.start)}, {weighting}"
        )
        for group, weighting in table.columns
    ]
    lines = [
        [escape_markdown(title), *cells]
        for title, cells in _format_lines(table, lambda text: f"**{text}**", "\N{PLUS-MINUS SIGN}")
    ]
    rules = ["---", *["---:"] * len(headings)]
    shown = join_pipe_table(["Partition", *headings], lines, rules)
    return f"{escape_markdown(_describe_table(table, campaign))}\n\n{shown}\n"


def format_combined_latex(combined: pd.DataFrame, campaign: Campaign) -> str:
    """Table II as a LaTeX table with booktabs rules, ready to paste."""
    table = make_table_two(combined)
    weightings = [escape_latex(title) for _, title in table.columns]
    rows = _format_lines(table, lambda text: rf"\textbf{{{text}}}", r"$\pm$")
    return "\n".join(
        [
            r"% needs \usepackage{adjustbox,booktabs}",
            r"\begin{table*}",
            rf"\caption{{{escape_latex(_describe_table(table, campaign))}}}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            r"\begin{adjustbox}{max width=\textwidth}",
            rf"\begin{{tabular}}{{l{'r' * len(weightings)}}}",
            r"\toprule",
            *_format_latex_headings(table.set_headings),
            *_format_latex_headings(table.start_headings),
            " & ".join(["Partition", *weightings]) + r" \\",
            r"\midrule",
            *(" & ".join([escape_latex(title), *cells]) + r" \\" for title, cells in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            r"\end{table*}",
            "",
        ]
    )


def _describe_table(table: TableTwo, campaign: Campaign) -> str:
    """What the table holds."""
    return (
        f"All participants of campaign {campaign.name} distilled into one model "
        "(paper, Table II): test accuracy in percent"
        + (", with the standard deviation over replicates" if table.with_spread else "")
        + "; W: weighted teachers, U: all alike."
        + (" Bold: the best weighting of a group." if len(table.weightings) > 1 else "")
        + (" Lines of the paper: its numbers, for CIFAR-10." if table.with_paper else "")
    )


def _format_latex_headings(titles: list[tuple[str, int]]) -> list[str]:
    """A line of headings over several columns each, and the rules below them."""
    rules, column = [], 2
    for _, span in titles:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    cells = [rf"\multicolumn{{{span}}}{{c}}{{{escape_latex(text)}}}" for text, span in titles]
    return [" & ".join(["", *cells]) + r" \\", "".join(rules)]


def _format_lines(
    table: TableTwo, mark: Callable[[str], str], sign: str
) -> list[tuple[str, list[str]]]:
    """Row titles and cells: of each partition our numbers, then the paper's where it has any."""

    def format_own(entry: CombinedEntry) -> str:
        text = format_entry(entry, sign)
        return mark(text) if entry.best else text

    lines = []
    titles = title_partitions(table.lines)
    for partition, entries in table.lines.items():
        title = titles[partition]
        lines.append((title, [format_own(entry) for entry in entries]))
        if any(not math.isnan(entry.paper) for entry in entries):
            lines.append((f"{title} (paper)", [format_points(entry.paper) for entry in entries]))
    return lines
