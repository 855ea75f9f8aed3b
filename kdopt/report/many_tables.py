"""Many teachers as text (paper, section V): Table II as Markdown and LaTeX, the rest as CSV."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import set_title, title_of
from kdopt.report.many_view import ManyTeachers
from kdopt.report.table_two import Entry, TableTwo, entry_text, plain, start_title, table_two
from kdopt.report.tables import frame_csv, latex_escape, markdown_escape, points, raw_line


def many_texts(many: ManyTeachers, campaign: Campaign) -> dict[str, str]:
    """The files of what there is data for, by name."""
    texts: dict[str, str] = {}
    if len(many.combined):
        texts["combined.csv"] = frame_csv(many.combined)
        texts["combined.md"] = combined_markdown(many.combined, campaign)
        texts["combined.tex"] = combined_latex(many.combined, campaign)
    if len(many.curves):
        texts["federated_curves.csv"] = frame_csv(many.curves)
    if len(many.rounds):
        texts["rounds_to_target.csv"] = rounds_csv(many.rounds)
    return texts


def rounds_csv(rounds: pd.DataFrame) -> str:
    """All columns of :func:`kdopt.analysis.federated.count_rounds_to_target`."""
    return frame_csv(rounds, {"target", "rounds_random", "rounds_consolidated", "rounds"})


def combined_markdown(combined: pd.DataFrame, campaign: Campaign) -> str:
    """Table II as a Markdown pipe table under a sentence; the paper's numbers below ours."""
    table = table_two(combined)
    headings = [
        markdown_escape(
            f"{set_title(k.transfer_set)}, {plain(k.start)}, {table.weighting_title(w)}"
        )
        for k in table.kinds
        for w in table.weightings
    ]
    lines = [raw_line(["Partition", *headings]), raw_line(["---", *["---:"] * len(headings)])]
    for title, cells in _lines(table, lambda text: f"**{text}**", "\N{PLUS-MINUS SIGN}"):
        lines.append(raw_line([markdown_escape(title), *cells]))
    return "\n".join([markdown_escape(caption(table, campaign)), "", *lines]) + "\n"


def combined_latex(combined: pd.DataFrame, campaign: Campaign) -> str:
    """Table II as a LaTeX table with booktabs rules, ready to paste."""
    table = table_two(combined)
    n = len(table.weightings)
    sets = [(latex_escape(set_title(name)), n * count) for name, count in table.sets.items()]
    starts = [(latex_escape(start_title(kind.start)), n) for kind in table.kinds]
    weightings = [
        latex_escape(table.weighting_title(w)) for _ in table.kinds for w in table.weightings
    ]
    return "\n".join(
        [
            r"% needs \usepackage{adjustbox,booktabs}",
            r"\begin{table*}",
            rf"\caption{{{latex_escape(caption(table, campaign))}}}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            r"\begin{adjustbox}{max width=\textwidth}",
            rf"\begin{{tabular}}{{l{'r' * len(weightings)}}}",
            r"\toprule",
            *_group(sets),
            *_group(starts),
            " & ".join(["Partition", *weightings]) + r" \\",
            r"\midrule",
            *(
                " & ".join([latex_escape(title), *cells]) + r" \\"
                for title, cells in _lines(table, lambda text: rf"\textbf{{{text}}}", r"$\pm$")
            ),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            r"\end{table*}",
            "",
        ]
    )


def caption(table: TableTwo, campaign: Campaign) -> str:
    """What the table holds."""
    return (
        f"All participants of campaign {campaign.name} distilled into one model "
        "(paper, Table II): test accuracy in percent"
        + (", with the standard deviation over replicates" if table.with_spread else "")
        + "; W: weighted teachers, U: all alike."
        + (" Bold: the best weighting of a group." if len(table.weightings) > 1 else "")
        + (" Lines of the paper: its numbers, for CIFAR-10." if table.with_paper else "")
    )


def _group(titles: list[tuple[str, int]]) -> list[str]:
    """A line of headings over several columns each, and the rules below them."""
    rules, column = [], 2
    for _, span in titles:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    cells = [rf"\multicolumn{{{span}}}{{c}}{{{text}}}" for text, span in titles]
    return [" & ".join(["", *cells]) + r" \\", "".join(rules)]


def _lines(table: TableTwo, mark: Callable[[str], str], sign: str) -> list[tuple[str, list[str]]]:
    """Row titles and cells: of each partition our numbers, then the paper's where it has any."""

    def own(entry: Entry) -> str:
        text = entry_text(entry, sign)
        return mark(text) if entry.best else text

    lines = []
    for partition, entries in table.lines.items():
        title = title_of(partition)
        lines.append((title, [own(entry) for entry in entries]))
        if any(not math.isnan(entry.paper) for entry in entries):
            lines.append((f"{title} (paper)", [points(entry.paper) for entry in entries]))
    return lines
