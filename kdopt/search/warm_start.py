"""What a campaign with ``tune.sampler = "warm"`` learns from: frozen when it is planned, read when
a pair is tuned.

Two things teach a pair. The *prior*, an artifact named by its sha256, never changes. Finished
pairs of the campaign's own earlier rounds (``kdopt.trials.tune.round_of``) are complete before
the pair is started. Neither depends on which worker was how fast, so the same campaign gives the
same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import KdoptError, StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.search.pairs import known_pairs, prior_of, results_of
from kdopt.search.posterior import Belief
from kdopt.search.prior import KnownPair, Prior, known_pair, shipped
from kdopt.search.samplers import search_corners
from kdopt.search.surrogate import Surfaces
from kdopt.store import rows
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.rows import StudyState


def frozen_prior(campaign: Campaign, store: Store, artifacts: Artifacts) -> str | None:
    """The sha256 of what a campaign learns from; ``None`` when its sampler learns nothing.

    A campaign that the store knows keeps what it was planned with, whatever its teachers have
    come to since.

    Raises:
        KdoptError: A campaign named in ``tune.prior`` is unknown or teaches too little.
    """
    if campaign.tune.sampler != "warm" or "tune" not in campaign.stages:
        return None
    known = rows.campaigns(store)
    if campaign.name in known:
        before = rows.read_record(store, campaign.name)
        if before.prior is not None and before.campaign.tune.prior == campaign.tune.prior:
            return before.prior
    missing = [name for name in campaign.tune.prior if name not in known]
    if missing:
        raise StoreError(
            f"tune.prior: no campaign '{missing[0]}' in store {store.label}; it has: "
            f"{', '.join(known) or 'none'}. Name one of these, or leave tune.prior out for the "
            "prior that comes with kdopt"
        )
    prior = _named(campaign, store) if campaign.tune.prior else shipped()
    _check(prior, campaign)
    return artifacts.put(prior.to_bytes())


def _named(campaign: Campaign, store: Store) -> Prior:
    """What the campaigns teach that ``tune.prior`` names."""
    for name in campaign.tune.prior:
        theirs = rows.read_record(store, name).campaign.select_on
        if (theirs, campaign.select_on) == ("test", "validation"):
            raise KdoptError(
                f"tune.prior: '{name}' has select_on = 'test', so what it gained on test would "
                "choose trials here, where test only reports; name campaigns that select on "
                "validation, or set select_on = 'test' here too"
            )
    return learnt(store, campaign.tune.prior)


def learnt(store: Store, names: tuple[str, ...]) -> Prior:
    """What the finished grids of these campaigns teach."""
    return prior_of(
        [
            (rows.read_record(store, name).campaign, known_pairs(rows.read_trials(store, name)))
            for name in names
        ]
    )


def _check(prior: Prior, campaign: Campaign) -> None:
    tune = campaign.tune
    if prior.t2_scale != tune.t2_scale:
        raise KdoptError(
            f"tune.t2_scale = {str(tune.t2_scale).lower()}: the prior ({prior.source}) was "
            "measured the other way round, so that a point means something else there; name "
            "campaigns in tune.prior that were tuned alike, or change tune.t2_scale"
        )
    low, high = search_corners(campaign)
    if not any(low[0] <= t <= high[0] for t, _ in prior.points):
        raise KdoptError(
            f"tune.temperatures: the prior ({prior.source}) knows nothing between {low[0]:g} and "
            f"{high[0]:g}; widen them, or name other campaigns in tune.prior"
        )


class WarmStart:
    """What is believed of each pair of one campaign before it is tried.

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
        self._surfaces = Surfaces(Prior.from_bytes(artifacts.get(record.prior)))
        self._finished: dict[tuple[int, int], KnownPair] = {}
        self._last: tuple[object, Belief] | None = None

    def belief(
        self,
        plan: StudyPlan,
        earlier: Sequence[tuple[StudyState, StudyPlan]],
        trained: Mapping[int, Outcome],
    ) -> Belief:
        """What is believed of a pair, within the campaign's search space.

        Args:
            plan: The pair's study.
            earlier: The finished studies of earlier rounds of its partition, and their plans.
            trained: Pre-training outcomes of the partition's participants.
        """
        # A pair's trials come one after the other, and nothing of this changes between them.
        known = (plan.name, tuple((state.study_id, state.complete) for state, _ in earlier))
        if self._last is None or self._last[0] != known:
            others = [self._pair(state, other, trained) for state, other in earlier]
            belief = self._surfaces.belief(_untried(plan, trained), others)
            self._last = (known, belief.within(*search_corners(self._campaign)))
        return self._last[1]

    def _pair(
        self, state: StudyState, plan: StudyPlan, trained: Mapping[int, Outcome]
    ) -> KnownPair:
        # A finished study knows more after `kdopt retry-failed`, or when its budget grew.
        key = (state.study_id, state.complete)
        if key not in self._finished:
            trials = rows.read_trials(self._store, self._campaign.name, state.study_id)
            self._finished[key] = _known(plan, trained, trials)
        return self._finished[key]


def _untried(plan: StudyPlan, trained: Mapping[int, Outcome]) -> KnownPair:
    return _known(plan, trained, [])


def _known(plan: StudyPlan, trained: Mapping[int, Outcome], trials: list[TrialRow]) -> KnownPair:
    assert plan.teacher is not None and plan.student is not None
    return known_pair(trained[plan.teacher], trained[plan.student], results_of(trials))
