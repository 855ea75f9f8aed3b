"""``kdopt partitions``: how many images of each class every participant gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from kdopt.cli.announce import announce_steps
from kdopt.cli.campaign_file import load_spec_and_images
from kdopt.cli.options import PluginOption, SpecArgument
from kdopt.cli.tables import WIDE, make_console
from kdopt.data.splits import count_classes, make_splits
from kdopt.plugins.sources import give_plugins
from kdopt.report.sections.run import write_heat_maps
from kdopt.shown import clean_line

SHADES = " ░▒▓█"
ASCII_SHADES = " .:+#"


def partitions_command(
    spec: SpecArgument,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write the heat maps to this HTML file."),
    ] = None,
    plugin: PluginOption = None,
) -> None:
    """Show each participant's images per class.

    There is one table for each partition of the campaign.
    """
    give_plugins(plugin or [])
    loaded, dataset = load_spec_and_images(spec, announce_steps())
    tables = {}
    for partition in loaded.campaign.partitions:
        splits = make_splits(
            loaded.campaign,
            partition.name,
            dataset.train_labels,
            dataset.n_classes,
            dataset.owned,
            dataset.given,
        )
        tables[partition.name] = count_classes(
            splits.train, dataset.train_labels, dataset.n_classes
        )
    campaign = loaded.campaign
    who = list(map(campaign.name_participant, range(campaign.participants)))
    _print_counts(tables, dataset.class_names, who)
    if html is not None:
        images = {name: table.tolist() for name, table in tables.items()}
        write_heat_maps(html, campaign.name, images, dataset.class_names, who)
        print(html)


def _print_counts(
    tables: Mapping[str, NDArray[np.int64]],
    class_names: Sequence[str],
    participants: Sequence[str],
) -> None:
    """Print one table per partition; the shade of a cell is its share of the largest cell.

    Args:
        tables: Per partition, images per (participant, class).
        class_names: In class order.
        participants: What they are called, by number.
    """
    console = make_console()
    if not console.is_terminal:
        console = make_console(width=WIDE)
    shades = SHADES if _can_show(console.encoding, SHADES) else ASCII_SHADES
    for name, counts in tables.items():
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        table.add_column("class / participant", no_wrap=True)
        for number in range(len(counts)):
            table.add_column(f"{clean_line(participants[number])} ", justify="right", no_wrap=True)
        table.add_column("all", justify="right", style="bold", no_wrap=True)
        top = max(1, int(counts.max()))
        for label, row in zip(class_names, counts.T, strict=True):
            cells = [Text(f"{n}{_pick_shade(int(n) / top, shades)}") for n in row]
            table.add_row(Text(clean_line(label)), *cells, str(int(row.sum())))
        sizes = [f"{int(n)} " for n in counts.sum(axis=1)]
        table.add_row("all", *sizes, str(int(counts.sum())), style="bold")
        console.print(table)
        console.print()


def _can_show(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _pick_shade(share: float, shades: str) -> str:
    return shades[0] if share == 0 else shades[min(4, 1 + int(share * 4))]
