"""Trackers are Optuna's own integrations: called with a study and a trial, named when missing."""

from __future__ import annotations

import sys
import types

import pytest

import kdopt
from kdopt.errors import InputError

EXTRAS = [
    (kdopt.MLflow, "mlflow", "optuna_integration.mlflow", "MLflowCallback"),
    (kdopt.WeightsAndBiases, "wandb", "optuna_integration.wandb", "WeightsAndBiasesCallback"),
]


@pytest.mark.parametrize(("make", "extra", "module", "integration"), EXTRAS)
def test_a_tracker_hands_on_what_it_is_called_with(make, extra, module, integration, monkeypatch):
    called = []

    class Callback:
        def __init__(self, **options):
            called.append(options)

        def __call__(self, study, trial):
            called.append((study, trial))

    fake = types.ModuleType(module)
    setattr(fake, integration, Callback)
    monkeypatch.setitem(sys.modules, "optuna_integration", types.ModuleType("optuna_integration"))
    monkeypatch.setitem(sys.modules, module, fake)
    make(metric_name="points")("study", "trial")
    assert called[0]["metric_name"] == "points" and called[1] == ("study", "trial")


@pytest.mark.parametrize(("make", "extra", "module", "integration"), EXTRAS)
def test_a_tracker_that_is_not_installed_says_how_to(make, extra, module, integration, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        InputError, match=rf"{extra} is not installed; pip install 'kdopt\[{extra}\]'"
    ):
        make()
