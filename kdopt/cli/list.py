"""``kdopt list``: the campaigns of a store."""

from __future__ import annotations

import json
import sys
from contextlib import closing

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from kdopt.cli.tables import print_columns
from kdopt.errors import StoreError
from kdopt.store.database import Store
from kdopt.store.queries import list_campaigns, read_record, read_study_counts

HEADINGS = ("campaign", "images", "model", "stages", "participants", "trials done", "left")


def list_command(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the campaigns of a store.

    With what each is about, and how far it is.
    """
    with closing(open_store_at(store)) as opened, say_if_slow("counting trials"):
        found = [_describe_campaign(opened, name) for name in list_campaigns(opened)]
        label = opened.label
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found:
        print(f"{label}: no campaign yet; plan one with 'kdopt run FILE'")
    else:
        lines = [tuple(_format(line[heading]) for heading in HEADINGS) for line in found]
        print_columns([HEADINGS, *lines], 4)


def _format(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _describe_campaign(store: Store, name: str) -> dict[str, object]:
    try:
        settings = read_record(store, name).campaign
        counts = read_study_counts(store, name)
    except StoreError as error:
        # The others are to be seen all the same.
        print(f"kdopt: warning: {error}", file=sys.stderr)
        return {**dict.fromkeys(HEADINGS, "?"), "campaign": name}
    return {
        "campaign": name,
        "images": settings.data.name,
        "model": settings.model,
        "stages": ", ".join(settings.stages),
        "participants": settings.participants,
        "trials": sum(c.total for c in counts),
        "trials done": sum(c.complete + c.failed for c in counts),
        "failed": sum(c.failed for c in counts),
        "running": sum(c.running for c in counts),
        "left": sum(c.waiting + c.running for c in counts),
    }
