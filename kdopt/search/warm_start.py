"""What a campaign with ``tune.sampler = "warm"`` learns from.

The *prior* is frozen when the campaign is planned, as an artifact named by its sha256. A pair also
learns from the pairs of the campaign's own earlier rounds
(:func:`kdopt.campaign.stages.tune.round_of`), which are complete before the pair starts. Neither
depends on which worker was how fast, so the same campaign gives the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import KdoptError, StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.search.posterior import Posterior
from kdopt.search.prior import (
    PairResults,
    Prior,
    build_prior,
    collect_pair_results,
    collect_point_results,
    load_shipped_prior,
    make_pair_results,
)
from kdopt.search.samplers import get_search_corners
from kdopt.search.surrogate import Surrogate
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.queries import StudyCounts


def freeze_prior(campaign: Campaign, store: Store, artifacts: Artifacts) -> str | None:
    """Store the prior of a campaign that is planned.

    Returns:
        The artifact's sha256; ``None`` if the sampler learns from no prior.

    Raises:
        KdoptError: See :func:`choose_prior`.
    """
    prior = choose_prior(campaign, store)
    return artifacts.put(prior.to_bytes()) if isinstance(prior, Prior) else prior


def choose_prior(campaign: Campaign, store: Store | None) -> Prior | str | None:
    """The prior of a campaign that is to be planned; nothing is written.

    A campaign that the store knows keeps the prior that it was planned with, even if the campaigns
    that it learns from have gone on since.

    Args:
        campaign: The campaign.
        store: Where it will be planned; ``None`` where there is no store yet.

    Returns:
        The prior, or the sha256 of the one that it has already; ``None`` if the sampler learns from
        no prior.

    Raises:
        KdoptError: A campaign named in ``tune.prior`` is unknown or has too few finished pairs.
    """
    if campaign.tune.sampler != "warm" or "tune" not in campaign.stages:
        return None
    known = [] if store is None else queries.list_campaigns(store)
    if store is not None and campaign.name in known:
        before = queries.read_record(store, campaign.name)
        if before.prior is not None and before.campaign.tune.prior == campaign.tune.prior:
            return before.prior
    names = campaign.tune.prior
    missing = [name for name in names if name not in known]
    if missing:
        where = "the store, which is new" if store is None else f"store {store.label}"
        raise StoreError(
            f"tune.prior: no campaign '{missing[0]}' in {where}; it has: "
            f"{', '.join(known) or 'none'}. Name one of these, or leave tune.prior out for the "
            "prior that comes with kdopt"
        )
    if store is None or not names:
        prior = load_shipped_prior()
    else:
        _check_selection(campaign, store)
        prior = read_prior(store, names)
    _check_points(prior, campaign)
    return prior


def read_prior(store: Store, names: Sequence[str]) -> Prior:
    """The prior made of the finished grids of these campaigns."""
    return build_prior(
        [
            (
                queries.read_record(store, name).campaign,
                collect_pair_results(queries.read_trials(store, name)),
            )
            for name in names
        ]
    )


class PosteriorSource:
    """Gives the posterior of each pair of one campaign before its first trial.

    Args:
        store: The store.
        artifacts: Its artifacts.
        record: The campaign.
    """

    def __init__(self, store: Store, artifacts: Artifacts, record: CampaignRecord) -> None:
        if record.prior is None:
            raise StoreError(
                f"campaign '{record.campaign.name}' has no prior; plan it again with this version"
            )
        self._store = store
        self._campaign = record.campaign
        self._surrogate = Surrogate(artifacts.read(record.prior, "tune.prior", Prior.from_bytes))
        self._finished: dict[tuple[int, int], PairResults] = {}
        self._last: tuple[object, Posterior] | None = None

    def get_posterior(
        self,
        plan: StudyPlan,
        earlier: Sequence[tuple[StudyCounts, StudyPlan]],
        pretrained: Mapping[int, Outcome],
    ) -> Posterior:
        """The posterior of a pair, within the campaign's search space.

        Args:
            plan: The pair's study.
            earlier: The finished studies of earlier rounds of its partition, and their plans.
            pretrained: Pre-training outcomes of the partition's participants.
        """
        # A pair's trials come one after the other, and none of this changes between them.
        known = (plan.name, tuple((state.study_id, state.complete) for state, _ in earlier))
        if self._last is None or self._last[0] != known:
            others = [self._read_finished(state, other, pretrained) for state, other in earlier]
            untried = _make_pair_of_plan(plan, pretrained, [])
            posterior = self._surrogate.compute_posterior(untried, others)
            self._last = (known, posterior.restrict_to(*get_search_corners(self._campaign)))
        return self._last[1]

    def _read_finished(
        self, state: StudyCounts, plan: StudyPlan, pretrained: Mapping[int, Outcome]
    ) -> PairResults:
        # A finished study has more results after `kdopt retry-failed`, or if its budget grew.
        key = (state.study_id, state.complete)
        if key not in self._finished:
            trials = queries.read_trials(self._store, self._campaign.name, state.study_id)
            self._finished[key] = _make_pair_of_plan(plan, pretrained, trials)
        return self._finished[key]


def _make_pair_of_plan(
    plan: StudyPlan, pretrained: Mapping[int, Outcome], trials: Sequence[TrialRow]
) -> PairResults:
    assert plan.teacher is not None and plan.student is not None
    return make_pair_results(
        pretrained[plan.teacher], pretrained[plan.student], collect_point_results(trials)
    )


def _check_selection(campaign: Campaign, store: Store) -> None:
    """Refuse campaigns whose choices would leak test results into this one's."""
    for name in campaign.tune.prior:
        theirs = queries.read_record(store, name).campaign.select_on
        if (theirs, campaign.select_on) == ("test", "validation"):
            raise KdoptError(
                f"tune.prior: '{name}' has select_on = 'test', so what it gained on test would "
                "choose trials here, where test only reports; name campaigns that select on "
                "validation, or set select_on = 'test' here too"
            )


def _check_points(prior: Prior, campaign: Campaign) -> None:
    """Refuse a prior whose points mean something else here, or lie elsewhere."""
    tune = campaign.tune
    if prior.t2_scale != tune.t2_scale:
        raise KdoptError(
            f"tune.t2_scale = {str(tune.t2_scale).lower()}: the prior ({prior.source}) was "
            "measured the other way round, so that a point means something else there; name "
            "campaigns in tune.prior that were tuned alike, or change tune.t2_scale"
        )
    low, high = get_search_corners(campaign)
    if not any(low[0] <= t <= high[0] for t, _ in prior.points):
        raise KdoptError(
            f"tune.temperatures: the prior ({prior.source}) has no points between {low[0]:g} and "
            f"{high[0]:g}; widen them, or name other campaigns in tune.prior"
        )
