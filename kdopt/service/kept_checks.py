"""Whether the students that were kept are those of their trials, and one of each pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kdopt.analysis.rivals import is_rival, name_rivals
from kdopt.analysis.verdicts import rank_trial
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import StudyPlan
from kdopt.store.attributes import KEPT_KEY
from kdopt.store.kept import Kept, parse_kept

if TYPE_CHECKING:
    from kdopt.service.trial_checks import ExaminedTrial


def check_kept(
    rows: Sequence[ExaminedTrial], plans: Mapping[str, StudyPlan], campaign: Campaign
) -> Iterator[str]:
    """What is wrong with the students that are kept, a line each.

    Args:
        rows: All trials of a campaign.
        plans: Its studies by name.
        campaign: Its settings.
    """
    holders: dict[object, str] = {}
    for row in rows:
        plan = plans.get(row.trial.study)
        if KEPT_KEY not in row.trial.attributes or plan is None:
            continue
        if row.problems or plan.space.keys() - row.params.keys():
            continue  # said already, and its rank cannot be told
        kept = read_kept(row)
        if kept is None:
            yield f"{row.trial.label}: {KEPT_KEY} cannot be read"
        elif row.trial.state != "COMPLETE" or row.outcome is None:
            yield f"{row.trial.label}: its student is kept, and it has no result"
        elif not is_rival(plan, row.params, row.outcome):
            yield f"{row.trial.label}: its student is kept, and is none to choose from"
        else:
            studies, of = name_rivals(campaign, plan, row.params)
            rank = rank_trial(campaign, row.params, row.outcome, plan.method)
            if (kept.of, kept.rank) != (of, rank):
                yield f"{row.trial.label}: {KEPT_KEY} is not what its result says"
            other = holders.setdefault((studies, of), row.trial.label)
            if other != row.trial.label:
                yield f"{row.trial.label}: its student is kept, and so is that of {other}"


def read_kept(row: ExaminedTrial) -> Kept | None:
    """The student that is kept of a trial; ``None`` where there is none, or it cannot be read."""
    return parse_kept(row.trial.attributes.get(KEPT_KEY), (row.trial.study,))
