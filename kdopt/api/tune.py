"""``kdopt.tune``: the study of one pair of models that this process has.

It is a campaign of two participants, planned, run, recorded and judged as any other: the same
seeds, losses, samplers and statistics.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import torch

from kdopt.api.forked import ForkedWorkers, check_forking
from kdopt.api.inputs import read_given
from kdopt.api.tuned import (
    Home,
    TunedPair,
    count_done,
    explain_no_result,
    make_temporary_home,
    read_result,
)
from kdopt.api.watching import Callback, Watcher
from kdopt.campaign.data_settings import GIVEN
from kdopt.campaign.method_spaces import SPACES
from kdopt.campaign.partition_settings import OWN
from kdopt.campaign.spec import Spec, check_tables
from kdopt.campaign.stage_settings import Sampler
from kdopt.errors import InputError, KdoptError, SpecError
from kdopt.plugins.code import PLUGIN_NAMES
from kdopt.service.planner import plan_campaign
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.location import folder_beside
from kdopt.store.queries import read_record
from kdopt.train.engine import (
    compute_in_one_thread,
    find_device,
    keep_process_settings,
    make_engine,
)
from kdopt.trials.given import ROLES, STUDENT, TEACHER, GivenContext, GivenPair
from kdopt.typed import parse_device, refuse_empty
from kdopt.worker.alone import working_alone
from kdopt.worker.inputs import Materials
from kdopt.worker.versions import join_campaign
from kdopt.worker.worker import run_trials

logger = logging.getLogger(__name__)


class TuneOptions(TypedDict, total=False):
    """Settings of the study: those of a campaign file, with the same defaults.

    Attributes:
        budget: Trials per method; left out, 20 (8 for ``warm``). A grid decides it itself.
        sampler: ``tpe`` by default.
        methods: What is tuned, such as ``("kd", "dkd")``; each has trials of its own. One of a
            plugin file is known after ``kdopt.plugins.load_plugins``.
        temperatures: Grid values; the other samplers search between the least and the greatest.
        alphas: The same for the teacher's weight.
        search: What else is searched, such as ``{"learning_rate": [1e-3, 1e-4]}``.
        epochs: Most epochs of a trial.
        patience: Epochs without a better validation accuracy before a trial stops; 0: none.
        batch_size: Inputs per step.
        learning_rate: Of Adam.
        weight_decay: Of Adam.
        monitor: ``accuracy`` or ``loss``.
        replicates: How often each setting is tried, with other seeds.
        student_line: Places between the untouched (0) and the trained student (1) to try as well.
        batch_norm: ``running``, ``measured`` or ``both``: where students' batch-norm statistics
            are from.
        precision: ``auto``, ``fp32`` or ``bf16``.
        seed: All others are hashed from it.
    """

    budget: int
    sampler: Sampler
    methods: Sequence[str]
    temperatures: Sequence[float]
    alphas: Sequence[float]
    search: Mapping[str, Sequence[float]]
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    monitor: Literal["accuracy", "loss"]
    replicates: int
    student_line: Sequence[float]
    batch_norm: Literal["running", "measured", "both"]
    precision: Literal["auto", "fp32", "bf16"]
    seed: int
    dkd: Mapping[str, Sequence[float]]
    dist: Mapping[str, Sequence[float]]
    nkd: Mapping[str, Sequence[float]]
    logit_std: Mapping[str, Sequence[float]]
    wttm: Mapping[str, Sequence[float]]
    dml: Mapping[str, Sequence[float]]
    dp_kd: Mapping[str, Sequence[float]]


OF_CAMPAIGN = ("replicates", "precision", "seed", "student_line", "batch_norm")
OF_TUNING = ("budget", "sampler", "methods", "temperatures", "alphas", "search", *SPACES)


class TuningStopped(KeyboardInterrupt):
    """``kdopt.tune`` was stopped by Ctrl-C or SIGTERM; what was done is kept.

    Attributes:
        best: The result so far; ``None`` where no trial of the pair is done.
    """

    def __init__(self, message: str, best: TunedPair | None) -> None:
        super().__init__(message)
        self.best = best


@working_alone()
@compute_in_one_thread()
def tune(
    teacher: Any,
    student: Any,
    *,
    train: Any,
    validation: Any,
    test: Any,
    store: str | Path | None = None,
    name: str = "tune",
    device: str | None = None,
    workers: int = 1,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[TuneOptions],
) -> TunedPair:
    """Find the best way to distil a teacher into a student, and whether it pays.

    Neither model is changed: every trial trains a copy of the student. The same call gives the
    same trials, whatever the number of workers.

    Args:
        teacher: Any ``nn.Module``, or its logits: an array (n, classes) in the order of ``train``,
            or ``{"train": ..., "validation": ..., "test": ...}``.
        student: Any ``nn.Module``.
        train: ``(inputs, class numbers)``, arrays or tensors as the modules take them, or a torch
            ``Dataset`` of such pairs, read once. What the student is distilled on.
        validation: The same; settings are chosen by it.
        test: The same; it is only reported.
        store: Path or URL of a store that keeps the study: the same call goes on there, and
            ``kdopt.open`` and Optuna's tools work on it. Left out: kept while the result lives.
        name: Of the study in the store.
        device: ``cpu``, ``cuda``, ``cuda:N``; left out: a GPU where there is one.
        workers: Processes, on a CPU. A GPU runs several trials at once in one.
        progress: Show a bar.
        callbacks: Called as Optuna's, ``callback(study, trial)``, for every trial of the pair.
        options: See :class:`TuneOptions`.

    Raises:
        InputError: Something given cannot be used; nothing was trained.
        TuningStopped: Ctrl-C; it has the result so far.
        KdoptError: The store cannot be used, every trial failed, or another thread of this process
            is training.
    """
    refuse_empty(store=store, name=name, device=device)
    _check_workers(workers, device)
    _check_callbacks(callbacks)
    given = read_given(teacher, student, train, validation, test)
    spec = _read_options(name, options, given)
    home = _open_home(store, name)
    with contextlib.closing(home.open(create=True)) as opened:
        _plan_pair(spec, given, opened, home.artifacts)
        stopped = _run_workers(opened, home, given, device, workers, callbacks, progress)
    return _read_best(home, given, device, stopped)


def _read_best(home: Home, given: GivenPair, device: str | None, stopped: bool) -> TunedPair:
    best = read_result(home, given, device)
    if stopped:
        done, planned = count_done(home)
        keep = "with store= it would be kept, and the same call would go on"
        raise TuningStopped(
            f"stopped with {done:,} of {format_count(planned, 'trial')} done, and what "
            "they found is in .best of this exception; "
            f"{'the same call goes on' if not home.is_temporary else keep}",
            best,
        )
    if best is None:
        raise KdoptError(explain_no_result(home))
    commonest = 100 * float(given.test.labels.bincount().max()) / len(given.test.labels)
    if best.teacher_accuracy <= commonest:
        logger.warning(
            "the teacher is right on %.1f %% of test, no better than one class for all (%.1f %%): "
            "it is asked in evaluation mode, so look whether its inputs are prepared as it learnt "
            "them, and its statistics of batch norm learnt",
            best.teacher_accuracy,
            commonest,
        )
    return best


def _read_options(name: str, options: Mapping[str, object], given: GivenPair) -> Spec:
    """The campaign that the options say, by the rules of a campaign file."""
    known = TuneOptions.__annotations__
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise InputError(f"{key}: no such option; {hint}use one of: {', '.join(known)}")
    tables: dict[str, dict[str, object]] = {"": {}, "tune": {"sampler": "tpe"}, "distill": {}}
    for key, value in options.items():
        of = "" if key in OF_CAMPAIGN else "tune" if key in OF_TUNING else "distill"
        tables[of][key] = _make_plain(value)
    teacher, student = given.name_models()
    brought = {"logits": GIVEN} if teacher is None else {"model": teacher, "weights": GIVEN}
    raw = {
        "name": name,
        **tables[""],
        "partitions": [OWN],
        "stages": ["tune"],
        "keep": "best",
        "data": {"name": GIVEN},
        "participant": [
            {"name": ROLES[TEACHER], **brought},
            {"name": ROLES[STUDENT], "model": student, "weights": GIVEN, "data": GIVEN},
        ],
        "distill": tables["distill"],
        "tune": tables["tune"],
    }
    try:
        spec = check_tables(raw, "kdopt.tune", PLUGIN_NAMES)
    except SpecError as error:
        lines = [line.removeprefix("tune.").removeprefix("distill.") for line in error.problems]
        raise InputError("\n".join(["kdopt.tune:", *(f"  - {line}" for line in lines)])) from None
    if "public_kd" in spec.campaign.tune.methods:
        raise InputError(
            "methods: public_kd distils on public sets, and there is only train here; leave it out"
        )
    if teacher is None and spec.campaign.tune.sampler == "warm" and not given.knows_validation:
        raise InputError(
            "sampler='warm': it goes by how good the teacher is, and its logits are of train only; "
            "give teacher={'train': ..., 'validation': ...}, or another sampler"
        )
    return spec


def _make_plain(value: Any) -> Any:
    """What NumPy and tuples say, as a campaign file would."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _make_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | range | set):
        return [_make_plain(item) for item in value]
    return value


def _check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Before the first trial, rather than after it."""
    several = isinstance(callbacks, Sequence) and not isinstance(callbacks, str)
    odd = [call for call in callbacks if not callable(call)] if several else [callbacks]
    if odd:
        raise InputError(
            f"callbacks: a {type(odd[0]).__name__}; give a list of functions of (study, trial)"
        )


def _check_workers(workers: int, device: str | None) -> None:
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise InputError(f"workers={workers!r}: give a whole number of processes, 1 or more")
    if device is not None:
        parse_device(str(device))
        find_device(device)
    if workers == 1:
        return
    check_forking(workers)
    on_cpu = device == "cpu" or (device is None and not torch.cuda.is_available())
    if not on_cpu:
        raise InputError(
            f"workers={workers}: on a GPU one process runs several trials at once; leave workers "
            "out, or give device='cpu'"
        )


def _open_home(store: str | Path | None, name: str) -> Home:
    with warnings.catch_warnings():
        # Optuna's own bar wants widgets in a notebook, and says so when it is imported; it is not
        # used here.
        warnings.simplefilter("ignore")
        importlib.import_module("optuna")
    if store is None:
        return make_temporary_home(name)
    with contextlib.closing(open_store(str(store), create=True)) as opened:
        place = folder_beside(opened.url, "artifacts")
    return Home(str(store), name, Artifacts(place))


def _plan_pair(spec: Spec, given: GivenPair, store: Store, artifacts: Artifacts) -> None:
    positions = {str(OWN): given.pack_positions()}
    plan_campaign(spec, given.dataset, positions, store, artifacts, given.pack_models())


def _run_workers(
    store: Store,
    home: Home,
    given: GivenPair,
    device: str | None,
    workers: int,
    callbacks: Sequence[Callback],
    progress: bool,
) -> bool:
    """Run all trials; whether somebody stopped that."""
    watcher = Watcher(store, home.name, callbacks, progress)
    make_context = partial(GivenContext, given)
    try:
        if workers == 1:
            materials = Materials(given.dataset, make_context, watcher.look)
            return _run_in_process(store, home, device, materials)
        group = ForkedWorkers(
            workers,
            lambda: _work_in_copy(home, device, Materials(given.dataset, make_context)),
            before_fork=watcher.disconnect,
        )
        group.run(watcher.look)
    except KeyboardInterrupt:
        return True
    finally:
        watcher.close()
    return False


def _work_in_copy(home: Home, device: str | None, materials: Materials) -> None:
    with contextlib.closing(home.open()) as store:
        _run_in_process(store, home, device, materials)


def _run_in_process(store: Store, home: Home, device: str | None, materials: Materials) -> bool:
    with keep_process_settings():
        settings = read_record(store, home.name).campaign
        engine = make_engine(settings.precision, device, deterministic=settings.deterministic)
        join_campaign(store, home.name, engine.list_versions())
        summary = run_trials(store, home.artifacts, home.name, engine, materials=materials)
    return summary.stopped
