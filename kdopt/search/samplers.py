"""Chooses the parameters of an open trial, as a pure function of the study's earlier trials.

Optuna's samplers run on a copy of the history in memory, seeded by study and trial number, so
the same history gives the same parameters in any worker. (Two workers with ``TPESampler(seed=k)``
on a shared store would both start from the same first point.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kdopt.campaign.method_studies import list_searched_values
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import SEQUENTIAL_TEMPERATURE, make_search_space
from kdopt.campaign.studies import Param, Params, ParamValue, SettingKey, StudyPlan, get_setting
from kdopt.outcome import TrialRow
from kdopt.search.posterior import Posterior
from kdopt.search.prior import Point, collect_point_results, get_point

if TYPE_CHECKING:
    # optuna is imported inside the functions that use it: commands that run no trial start
    # without it.
    import optuna


def choose_params(
    campaign: Campaign,
    plan: StudyPlan,
    number: int,
    history: Sequence[TrialRow],
    get_posterior: Callable[[], Posterior] | None = None,
) -> Params:
    """Choose the parameters of an open trial.

    Args:
        campaign: Its settings name the sampler.
        plan: The study.
        number: The trial's number within the study; part of the seed.
        history: The study's trials, in order of their numbers. The parameters of any of them, also
            of one that waits to be retried, are not chosen again; only finished ones are learnt
            from.
        get_posterior: For ``warm``: gives the pair's posterior before its first trial. It is slow,
            so it is called only when it is needed.
    """
    taken = [row.params for row in history if row.params]
    done = [row for row in history if row.state in ("COMPLETE", "FAIL") and row.params]
    # Replicates come first: a point counts in reports only when all its replicates are there.
    missing = _find_missing_replicate(taken, campaign.replicates)
    if missing is not None:
        return missing
    if plan.method is not None:
        return _choose_sampled(campaign, plan, number, taken, done)
    if campaign.tune.sampler == "warm" and get_posterior is not None:
        params = _choose_warm(campaign, taken, done, get_posterior)
        if params is not None:
            return params
    if campaign.tune.sampler == "sequential":
        return _choose_sequential(campaign, taken, done)
    return _choose_sampled(campaign, plan, number, taken, done)


def get_search_corners(campaign: Campaign) -> tuple[Point, Point]:
    """The least and the greatest temperature and alpha that a campaign searches."""
    space = make_search_space(campaign)
    temperature, alpha = space["temperature"], space["alpha"]
    return (temperature.low, alpha.low), (temperature.high, alpha.high)


def _find_missing_replicate(taken: Sequence[Params], replicates: int) -> Params | None:
    """The next replicate of the first setting that has fewer than the campaign wants."""
    seen: dict[SettingKey, set[int]] = {}
    first: dict[SettingKey, Params] = {}
    for params in taken:
        key = get_setting(params)
        first.setdefault(key, params)
        seen.setdefault(key, set()).add(int(params["replicate"]))
    for key, have in seen.items():
        for replicate in range(replicates):
            if replicate not in have:
                return {**first[key], "replicate": replicate}
    return None


def _choose_sequential(
    campaign: Campaign, taken: Sequence[Params], done: Sequence[TrialRow]
) -> Params:
    """The first temperature not yet tried at the alpha that was best at temperature 1.

    Ties go to the alpha nearest the vanilla one, as in the analysis. Where vanilla lies on that
    line and has been tried already, the trial left over goes to the next best alpha.
    """
    tune = campaign.tune
    gains: dict[float, list[float]] = {}
    tried = {get_point(params) for params in taken}
    for row in done:
        temperature, alpha = get_point(row.params)
        if temperature == SEQUENTIAL_TEMPERATURE and row.outcome is not None:
            gains.setdefault(alpha, []).append(row.outcome.value)

    def rank(alpha: float) -> tuple[float, float, float]:
        values = gains.get(alpha, [])
        mean = math.fsum(values) / len(values) if values else float("-inf")
        return (-mean, abs(alpha - tune.vanilla_alpha), alpha)

    alphas = sorted({*tune.alphas, *gains}, key=rank)
    temperature, alpha = next(
        (t, a) for a in alphas for t in tune.temperatures if (t, a) not in tried
    )
    return {"temperature": temperature, "alpha": alpha, "replicate": 0}


def _choose_warm(
    campaign: Campaign,
    taken: Sequence[Params],
    done: Sequence[TrialRow],
    get_posterior: Callable[[], Posterior],
) -> Params | None:
    """The point of greatest expected improvement; ``None`` after ``tune.warm_trials`` points.

    Vanilla is never among them: this study has planned it, or stage ``compare`` runs it.
    """
    vanilla = campaign.tune.vanilla_point
    tried = {get_point(params) for params in taken} - {vanilla}
    if len(tried) >= campaign.tune.warm_trials:
        return None
    results = collect_point_results(done)
    best = max((result.gain for result in results.values()), default=0.0)
    point = get_posterior().condition_on(results).choose_next_point(tried | {vanilla}, best)
    if point is None:
        return None
    return {"temperature": point[0], "alpha": point[1], "replicate": 0}


def _choose_sampled(
    campaign: Campaign,
    plan: StudyPlan,
    number: int,
    taken: Sequence[Params],
    done: Sequence[TrialRow],
) -> Params:
    """Optuna's choice, or a random point where that was taken already (corners often are)."""
    import optuna

    # The replicate is not searched: a point's replicates are one trial each in the history.
    allowed = {} if plan.method is None else list_searched_values(campaign, plan.method)
    space = {
        name: _make_distribution(param, allowed.get(name, ()))
        for name, param in plan.space.items()
        if name != "replicate"
    }
    # numpy, which Optuna seeds, takes 32 bits.
    seed = seed_for(campaign.seed, plan.name, number) % 2**32
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=_make_sampler(campaign, seed))
    study.add_trials([_make_optuna_trial(row, space) for row in done])
    params = {**study.ask(space).params, "replicate": 0}
    if get_setting(params) in map(get_setting, taken):
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
        params = {**study.ask(space).params, "replicate": 0}
    return params


def _make_sampler(campaign: Campaign, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    tune = campaign.tune
    sampler = tune.warm_then if tune.sampler == "warm" else tune.sampler
    # The warm trials take the place of the random ones that the other samplers start with.
    startup = 1 if tune.sampler == "warm" else max(1, min(10, tune.budget // 2))
    if sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)


def _make_distribution(
    param: Param, values: Sequence[ParamValue]
) -> optuna.distributions.BaseDistribution:
    import optuna

    if param.kind == "category":
        # The store knows all categories; those that this campaign asks for may be fewer.
        return optuna.distributions.CategoricalDistribution([str(value) for value in values])
    if param.kind == "int":
        return optuna.distributions.IntDistribution(int(param.low), int(param.high))
    return optuna.distributions.FloatDistribution(param.low, param.high, log=param.log)


def _make_optuna_trial(
    row: TrialRow, space: Mapping[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:
    import optuna

    complete = row.outcome is not None
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.FAIL,
        params={name: row.params[name] for name in space},
        distributions=dict(space),
        value=row.outcome.value if row.outcome is not None else None,
    )
