"""``kdopt init``: prepare a store."""

from __future__ import annotations

from contextlib import closing

from kdopt.cli.options import DEFAULT_STORE, StoreOption
from kdopt.store.database import KDOPT_SCHEMA, OPTUNA_SCHEMA, open_store


def init_command(store: StoreOption = DEFAULT_STORE) -> None:
    """Prepare a store: create its tables, or check their version.

    'kdopt plan' and 'kdopt run' do this too; workers never do.
    """
    with closing(open_store(store, create=True)) as opened:
        label = opened.label
    print(f"{label}: ready (kdopt schema {KDOPT_SCHEMA}, Optuna schema {OPTUNA_SCHEMA})")
