"""What a caller of ``kdopt.tune`` sees while it works: a progress bar, callbacks, and trackers.

Experiment trackers are callbacks: Optuna's own integrations, if installed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from kdopt.errors import InputError
from kdopt.store.database import Store
from kdopt.store.engines import open_optuna_storage
from kdopt.store.queries import StudyCounts, read_study_counts

if TYPE_CHECKING:
    import optuna


Callback = Callable[[Any, Any], object]
"""Called as Optuna's callbacks are: with a study, and a finished trial (``FrozenTrial``)."""


class Watcher:
    """Follows a campaign.

    Args:
        store: Where it is.
        campaign: Its name.
        callbacks: Called when a trial of a pair has ended: in this process, one at a time.
        progress: Whether to show a bar.
    """

    def __init__(
        self, store: Store, campaign: str, callbacks: Sequence[Callback], progress: bool
    ) -> None:
        self._store, self._campaign, self._callbacks = store, campaign, callbacks
        self._storage: optuna.storages.RDBStorage | None = None
        states = read_study_counts(store, campaign)
        # What ended in an earlier call was told then.
        self._told = {(s.study_name, t.number) for s, t in self._list_ended(states)}
        self._ended = sum(s.complete + s.failed for s in states)
        self._bar: tqdm[Any] = tqdm(
            total=sum(s.total for s in states),
            initial=self._ended,
            desc=campaign,
            unit="trial",
            disable=not progress,
        )

    def look(self) -> None:
        """Show and tell what ended since the last look."""
        states = read_study_counts(self._store, self._campaign)
        ended = sum(s.complete + s.failed for s in states)
        self._bar.update(ended - self._ended)
        if ended == self._ended:
            return
        self._ended = ended
        for study, trial in self._list_ended(states):
            if (study.study_name, trial.number) not in self._told:
                self._told.add((study.study_name, trial.number))
                for call in self._callbacks:
                    call(study, trial)

    def disconnect(self) -> None:
        """Give up all connections; the next look makes new ones."""
        self._store.close()
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
        self.disconnect()

    def _list_ended(
        self, states: Sequence[StudyCounts]
    ) -> list[tuple[optuna.Study, optuna.trial.FrozenTrial]]:
        """The finished trials of the pair with their studies, in the order in which they ended."""
        if not self._callbacks:
            return []
        import optuna

        if self._storage is None:
            self._storage = open_optuna_storage(self._store.url)
        found = []
        for state in states:
            if state.name.stage == "tune" and state.complete + state.failed:
                study = optuna.load_study(study_name=state.study, storage=self._storage)
                found += [(study, t) for t in study.get_trials() if t.state.is_finished()]
        return sorted(found, key=lambda pair: (str(pair[1].datetime_complete), pair[1].number))


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
