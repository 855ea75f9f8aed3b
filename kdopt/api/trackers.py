"""Experiment trackers as callbacks of ``kdopt.tune``: Optuna's own integrations, if installed."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from kdopt.errors import InputError


class _Tracker:
    _module: str
    _integration: str
    _extra: str
    _defaults: dict[str, object]

    def __init__(self, **options: Any) -> None:
        try:
            module = importlib.import_module(self._module)
            with warnings.catch_warnings():
                # Optuna announces years ahead that these go; until then they are its own.
                warnings.simplefilter("ignore", FutureWarning)
                make = getattr(module, self._integration)
                self._callback = make(**{**self._defaults, **options})
        except ImportError as error:
            raise InputError(
                f"kdopt.{type(self).__name__}: {self._extra} is not installed; "
                f"pip install 'kdopt[{self._extra}]'"
            ) from error

    def __call__(self, study: Any, trial: Any) -> None:
        """Track a finished trial."""
        self._callback(study, trial)


class MLflow(_Tracker):
    """A callback that tracks every trial as a run of MLflow, in an experiment per study.

    Args:
        options: Those of ``optuna_integration.MLflowCallback``, such as ``tracking_uri``.

    Raises:
        InputError: MLflow or Optuna's integration is not installed.
    """

    _module = "optuna_integration.mlflow"
    _integration = "MLflowCallback"
    _extra = "mlflow"
    # kdopt's records of a trial are of no use as tags.
    _defaults = {"metric_name": "gain_pp", "tag_trial_user_attrs": False}  # noqa: RUF012


class WeightsAndBiases(_Tracker):
    """The same for Weights & Biases; a run for all trials.

    Args:
        options: Those of ``optuna_integration.WeightsAndBiasesCallback``, such as
            ``wandb_kwargs``.

    Raises:
        InputError: wandb or Optuna's integration is not installed.
    """

    _module = "optuna_integration.wandb"
    _integration = "WeightsAndBiasesCallback"
    _extra = "wandb"
    _defaults = {"metric_name": "gain_pp"}  # noqa: RUF012
