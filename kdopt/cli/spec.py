"""``kdopt spec``: a campaign's settings, each with its source."""

from __future__ import annotations

from itertools import groupby

from rich.table import Table
from rich.text import Text

from kdopt.campaign.compatibility import READERS
from kdopt.campaign.record import find_value
from kdopt.campaign.spec import Spec, format_setting_value, load_spec
from kdopt.cli.options import PluginOption, SpecArgument
from kdopt.cli.tables import make_console, print_columns
from kdopt.plugins.code import PLUGIN_NAMES
from kdopt.plugins.sources import give_plugins


def spec_command(spec: SpecArgument, plugin: PluginOption = None) -> None:
    """Show every setting of a campaign and its source.

    The source is the campaign file, or where the default comes from. Settings that depend on others
    are shown with the value that is in force; tables that no stage of the campaign reads are left
    out.
    """
    give_plugins(plugin or [])
    loaded = load_spec(spec, PLUGIN_NAMES)
    lines = _list_lines(loaded)
    console = make_console()
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        table.add_column("setting", no_wrap=True)
        table.add_column("value", overflow="fold")
        table.add_column("source", overflow="fold", style="dim")
        for name, group in groupby(lines, key=lambda line: line[0].rpartition(".")[0]):
            if name:
                table.add_row("")
                table.add_row(Text(f"[{name}]", style="bold"))
            for key, value, source in group:
                table.add_row(key.rpartition(".")[2], value, source.removeprefix("default: "))
        console.print(table)
    else:
        print_columns(lines, 3)
    idle = _list_idle_tables(loaded)
    if idle:
        print(f"no stage reads: {', '.join(f'[{name}]' for name in idle)}")


def _list_idle_tables(loaded: Spec) -> list[str]:
    stages = set(loaded.campaign.stages)
    return [table for table, readers in READERS.items() if not stages & set(readers)]


def _list_lines(loaded: Spec) -> list[tuple[str, str, str]]:
    idle = _list_idle_tables(loaded)
    found = []
    for line in loaded.settings:
        if line.key.partition(".")[0] in idle:
            continue
        value = line.value
        if value == "-":
            value = format_setting_value(find_value(loaded.campaign, line.key))
            if value == "-" and line.key.startswith("tune."):
                continue  # another sampler's
        found.append((line.key, value, line.source))
    return found
