"""``kdopt spec``: a campaign's settings, each with its source."""

from __future__ import annotations

from kdopt.campaign.spec import load_spec
from kdopt.cli.options import SpecArgument
from kdopt.cli.tables import print_columns


def spec_command(spec: SpecArgument) -> None:
    """Show every setting of a campaign and its source.

    The source is the campaign file, or where the default comes from.
    """
    print_columns([(line.key, line.value, line.source) for line in load_spec(spec).settings], 3)
