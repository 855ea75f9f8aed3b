"""``kdopt best``: what was measured of the pairs of a campaign, and what follows from it."""

from __future__ import annotations

from typing import Annotated

import typer

from kdopt.api.stores import OpenStore
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import read_pair
from kdopt.cli.options import (
    DEFAULT_STORE,
    CampaignOption,
    JsonOption,
    StoreOption,
    join_campaigns,
)
from kdopt.cli.tables import print_columns, print_text
from kdopt.errors import AdviceError
from kdopt.outcome import Pair
from kdopt.report.verdict_text import format_verdict, format_verdicts, format_verdicts_json

AskedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN|PAIR",
        help="A campaign, for all its pairs (needed when the store has several), or one pair, as "
        "[CAMPAIGN/]PARTITION/tNN-sNN.",
        show_default=False,
    ),
]


def best_command(
    asked: AskedArgument = None,
    store: StoreOption = DEFAULT_STORE,
    campaign: CampaignOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is best for each measured pair.

    Leave the student as it is, train it on without a teacher, or distil: with which method, T and
    alpha, what that gains on test, and how much of it is the teacher's. For a pair that was not
    measured there is 'kdopt recommend'.
    """
    pair: Pair | None = None
    if asked is not None and "/" in asked:
        named, pair = read_pair(asked, campaign)
    else:
        named = join_campaigns(asked, campaign)
    with OpenStore(store) as opened:
        picked = opened.pick(named)
        name = picked.name
        with say_if_slow(f"reading the trials of {name}"):
            tables = picked.tables
            table = picked.best() if pair is None else picked.best(*pair)
    if pair is not None and table.empty:
        raise AdviceError(
            f"{asked}: campaign '{name}' has no such pair; 'kdopt best {name}' lists all"
        )
    if as_json:
        print(format_verdicts_json(table))
        return
    if pair is None:
        text, lines = format_verdicts(table, name)
    else:
        text, lines = format_verdict(table.to_dict("records")[0], tables.results)
    print_text(text)
    print_columns(lines, n_left=lines[0].index("verdict") + 1 if pair is None else 3)
