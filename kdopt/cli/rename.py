"""``kdopt rename``: give a campaign another name."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from kdopt.campaign.names import CAMPAIGN_NAME
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import DEFAULT_STORE, CampaignNameArgument, StoreOption
from kdopt.cli.tables import print_text
from kdopt.errors import StoreError
from kdopt.store.campaigns import rename_campaign
from kdopt.store.queries import pick_campaign


def rename_command(
    campaign: CampaignNameArgument,
    new: Annotated[str, typer.Argument(help="Its new name.", metavar="NEW")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Give a campaign of the store another name.

    No result changes. Write the new name into the campaign file too, or the next 'kdopt run' plans
    a campaign of the old name.
    """
    if not CAMPAIGN_NAME.match(new):
        raise StoreError(
            f"'{new}': a campaign's name has 1 to 64 letters, digits, '.', '_' or '-' and starts "
            "with a letter or digit"
        )
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, campaign)
        with say_if_slow(f"renaming {name}"):
            rename_campaign(opened, name, new)
    print_text(f'{name}: is {new} now; write name = "{new}" into its campaign file')
