"""The model behind an outcome, as long as it holds those weights."""

from __future__ import annotations

import gc

from torch import nn

from kdopt.outcome import Scores
from kdopt.train.fit import TOGETHER
from kdopt.trials.trained import TrainedModels
from tests.conftest import make_outcome


def test_models_of_a_group_are_found_by_their_own_scores():
    kept, models = TrainedModels(), [nn.Linear(1, 1) for _ in range(TOGETHER)]
    outcomes = [make_outcome(0.0) for _ in models]  # equal, and yet not the same
    for outcome, model in zip(outcomes, models, strict=True):
        kept.note(outcome.test, model)
    assert [kept.find(o) for o in outcomes] == models


def test_a_model_that_was_filled_again_is_no_longer_the_older_outcomes():
    kept, model = TrainedModels(), nn.Linear(1, 1)
    first, second = make_outcome(0.0), make_outcome(0.0)
    kept.note(first.test, model)
    kept.note(second.test, model)
    assert kept.find(first) is None
    assert kept.find(second) is model


def test_a_model_that_nobody_needs_is_let_go():
    kept, scores = TrainedModels(), Scores(0.5, (0.5,), 0.1)
    kept.note(scores, nn.Linear(1, 1))
    gc.collect()
    outcome = make_outcome(0.0)
    assert kept.find(outcome) is None
