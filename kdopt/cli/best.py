"""``kdopt best``: what was measured of the pairs of a campaign, and what follows from it."""

from __future__ import annotations

from typing import Annotated

import typer

from kdopt.api.stores import OpenStore
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import read_pair
from kdopt.cli.options import DEFAULT_STORE, CampaignOption, JsonOption, StoreOption
from kdopt.cli.tables import print_columns, print_text
from kdopt.errors import AdviceError
from kdopt.report.verdict_text import format_verdict, format_verdicts, format_verdicts_json

PairArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="PAIR", help="One pair, as PARTITION/tNN-sNN [default: all of the campaign]."
    ),
]


def best_command(
    pair: PairArgument = None,
    store: StoreOption = DEFAULT_STORE,
    campaign: CampaignOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is best for each measured pair.

    Leave the student as it is, train it on without a teacher, or distil: with which method, T and
    alpha, what that gains on test, and how much of it is the teacher's. For a pair that was not
    measured there is 'kdopt recommend'.
    """
    wanted = None if pair is None else read_pair(pair)
    with OpenStore(store) as opened:
        asked = opened.pick(wanted[0] if wanted and wanted[0] else campaign)
        name = asked.name
        with say_if_slow(f"reading the trials of {name}"):
            tables = asked.tables
            table = asked.best() if wanted is None else asked.best(*wanted[1])
    if wanted is not None and table.empty:
        raise AdviceError(
            f"{pair}: campaign '{name}' has no such pair; 'kdopt best --campaign {name}' lists all"
        )
    if as_json:
        print(format_verdicts_json(table))
        return
    if wanted is None:
        text, lines = format_verdicts(table, name)
    else:
        text, lines = format_verdict(table.to_dict("records")[0], tables.results)
    print_text(text)
    print_columns(lines, n_left=lines[0].index("verdict") + 1 if wanted is None else 3)
