"""The report of several campaigns side by side: its page and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kdopt.analysis.agreement import ComparedCampaign, ComparisonTables
from kdopt.analysis.tables import compute_tables
from kdopt.campaign.record import CampaignRecord
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, Grid, Section, Table
from kdopt.report.files import PAGE_NAME, Content, write_files
from kdopt.report.format import escape_markdown, format_pipe_line
from kdopt.report.images import ImageFormat, draw_images
from kdopt.report.page import list_figures, make_payload, render_sections
from kdopt.report.sections.comparison import describe_comparison, make_comparison_sections

FINGERPRINT_DIGITS = 12
"""Of a sha256: enough to tell two apart by eye."""


def make_compared_campaign(
    label: str, record: CampaignRecord, rows: Sequence[TrialRow]
) -> ComparedCampaign:
    """A campaign as it enters a comparison.

    Args:
        label: What tells it from the others.
        record: What the store keeps of it.
        rows: Its trials, in any state and order.
    """
    settings = {line.key: line.value for line in record.settings if line.key != "name"}
    outcomes = [row.outcome for row in rows if row.outcome]
    ran_on = sorted({f"{o.device} ({o.precision})" for o in outcomes})
    versions: dict[str, set[str]] = {}
    for outcome in outcomes:
        for package, version in outcome.versions.items():
            versions.setdefault(package, set()).add(version)
    for name in sorted(versions):
        settings[f"version of {name}"] = ", ".join(sorted(versions[name]))
    if ran_on:
        settings["ran on"] = ", ".join(ran_on)
    settings["images (fingerprint)"] = record.data_sha256[:FINGERPRINT_DIGITS]
    settings |= {
        f"shares of {partition} (fingerprint)": sha256[:FINGERPRINT_DIGITS]
        for partition, sha256 in record.splits.items()
    }
    tables = compute_tables(rows, record.campaign)
    return ComparedCampaign(label, tables, record.data_sha256, record.splits, settings)


def write_comparison(
    out_dir: Path, campaigns: Sequence[ComparedCampaign], formats: Sequence[ImageFormat] = ()
) -> list[Path]:
    """Write the page and the files of a comparison, the page last.

    The tables are ``headlines.csv``, ``best_settings.csv``, ``agreement.csv``, ``findings.csv``
    and ``settings_differences.csv``; ``comparison.md`` has what the page says, without figures.

    Args:
        out_dir: Folder to write into, made if it is not there.
        campaigns: Two or more.
        formats: Of ``figures/``; none writes no such folder.

    Raises:
        ComparisonError: The campaigns have nothing to be set side by side.
        KdoptError: A file cannot be written, or figures cannot be made here.
    """
    sections = make_comparison_sections(ComparisonTables(campaigns))
    name, lead = ", ".join(c.label for c in campaigns), describe_comparison(campaigns)
    contents: dict[str, Content] = {}
    for section in sections:
        contents |= section.files
    contents["comparison.md"] = format_sections(name, lead, sections)
    if formats:
        images = draw_images(list_figures(sections), formats)
        contents |= {f"figures/{image}": content for image, content in images.items()}
    contents[PAGE_NAME] = render_sections(name, lead, sections, make_payload(name, sections))
    return write_files(out_dir, contents)


def format_sections(name: str, lead: str, sections: Sequence[Section]) -> str:
    """Sections as Markdown: their texts and tables, without figures."""
    parts = [f"# {escape_markdown(name)}", escape_markdown(lead)]
    for section in sections:
        parts += [f"## {escape_markdown(section.title)}", escape_markdown(section.note)]
        for block in section.blocks:
            parts += _format_block(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def _format_block(block: Block) -> Iterator[str]:
    yield f"### {escape_markdown(block.title)}" if block.title else ""
    yield escape_markdown(block.note)
    yield f"**{escape_markdown(block.missing)}**" if block.missing else ""
    for grid in block.grids:
        yield _format_grid(grid)
    for table in block.tables:
        yield _format_table(table)


def _format_grid(grid: Grid) -> str:
    # Markdown has one line of headings: those above each other are joined.
    spread = [[text for text, span in row for _ in range(span)] for row in grid.headings]
    headings = [grid.corner, *(": ".join(column) for column in zip(*spread, strict=True))]
    lines = [
        [title, *(f"{c.text} ({c.below})" if c.below else c.text for c in cells)]
        for title, cells in grid.lines
    ]
    return _format_pipes(headings, lines)


def _format_table(table: Table) -> str:
    return _format_pipes(table.headings, [[cell.text for cell in line] for line in table.lines])


def _format_pipes(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = [format_pipe_line(headings), format_pipe_line(["---"] * len(headings))]
    return "\n".join([*head, *(format_pipe_line(line) for line in lines)])
