"""What the status says of other programs' work in a campaign's part of the store, and the cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy.engine import Connection

from kdopt.campaign.names import PAIR_STAGES, campaign_study_name
from kdopt.store.database import Store
from kdopt.store.foreign import count_foreign_trials
from kdopt.store.scope import Scope, select_names, select_scope


def list_foreign_notes(store: Store, campaign: str) -> list[str]:
    """A sentence for each kind of thing that is not as kdopt left it."""

    def read(connection: Connection) -> list[str]:
        scope = select_scope(connection, campaign)
        names = {name for _, name in select_names(connection, campaign)}
        return [*_list_notes(scope, names, count_foreign_trials(connection, scope))]

    return store.run_read(read)


def _list_notes(scope: Scope, names: set[str], n_foreign: int) -> Iterator[str]:
    campaign = scope.record.campaign
    if n_foreign:
        yield (
            f"{n_foreign:,} trials were taken, ended or added by another program; a worker, "
            "'kdopt plan' or 'kdopt doctor --repair' plans them again"
        )
    if scope.foreign:
        yield (
            f"{len(scope.foreign):,} studies under the campaign's name are none of its and are "
            f"left out ({scope.foreign[0]}); delete them, or give them another name"
        )
    if campaign_study_name(campaign.name) not in names:
        yield (
            f"the study '{campaign_study_name(campaign.name)}' was deleted; 'kdopt plan' and "
            "'kdopt doctor --repair' write it again"
        )
    found = Counter((name.stage, name.method) for _, name in scope.studies.values())
    missing = 0
    for (stage, _), n in found.items():
        each = len(campaign.pairs) if stage in PAIR_STAGES else 1
        missing += max(0, len(campaign.partitions) * each - n)
    if missing:
        yield f"{missing:,} studies were deleted; 'kdopt plan' plans them again"
