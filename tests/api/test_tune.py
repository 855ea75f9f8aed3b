"""``kdopt.tune``: a pair of modules gets the study, the numbers and the verdict of a campaign."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import kdopt
from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import load_dataset
from kdopt.errors import InputError, KdoptError, StoreError
from kdopt.outcome import TrialRow
from kdopt.service.planner import draw_splits, plan_campaign, read_given_weights
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.queries import read_trials
from kdopt.train.engine import Images, make_engine
from kdopt.train.models import make_model
from kdopt.worker.worker import run_trials
from tests.api.digits import make_pair

GRID = {"sampler": "grid", "temperatures": [1, 4], "alphas": [0.5, 0.9]}
TIMES = ("seconds", "worker", "started", "ended")


@pytest.fixture(scope="module")
def pair():
    return make_pair()


@pytest.fixture(scope="module")
def found(pair, tmp_path_factory):
    """The study of a grid, in a store that no test may change."""
    teacher, student, given = pair
    path = tmp_path_factory.mktemp("tune") / "kdopt.db"
    return kdopt.tune(teacher, student, **given, **GRID, store=path), path


def tabulate(best) -> pd.DataFrame:
    """All that trials recorded, but for when and how long they ran."""
    table = best.trials().sort_values(["study", "number"]).reset_index(drop=True)
    return table[[c for c in table.columns if not c.startswith(TIMES)]]


def measure_accuracy(model, data) -> float:
    x, y = data
    with torch.no_grad():
        return float((model(torch.tensor(x)).argmax(1).numpy() == y).mean())


def test_importing_kdopt_loads_neither_torch_nor_pandas():
    script = (
        "import sys, kdopt; assert {'tune', 'open'} <= set(kdopt.__all__);"
        "heavy = {m.split('.')[0] for m in sys.modules} & {'torch', 'pandas', 'optuna', 'numpy'};"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=600)
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        kdopt.tunes  # noqa: B018


def test_the_best_setting_stands_beside_its_control_and_the_verdict(found):
    best, _ = found
    trials = best.trials()
    assert set(trials["stage"]) == {"pretrain", "control", "tune"} and len(trials) == 7
    tuned = trials[trials["stage"] == "tune"]
    top = tuned[tuned["validation_gain_pp"] == tuned["validation_gain_pp"].max()]
    assert (best.temperature, best.alpha) in zip(top["temperature"], top["alpha"], strict=True)
    assert best.method == "kd" and set(best.parameters) == {"temperature", "alpha"}
    assert best.validation_gain == pytest.approx(tuned["validation_gain_pp"].max())
    control = trials[trials["stage"] == "control"]["test_gain_pp"].item()
    assert best.net_gain == pytest.approx(best.gain - control)
    assert best.net_interval.low < best.net_gain < best.net_interval.high
    row = best.campaign.best().iloc[0]
    assert (best.verdict, best.chance) == (row["action"], row["chance_over_leaving"])
    assert best.verdict in repr(best) and f"{best.gain:+.2f} pp" in repr(best)
    before = trials[trials["stage"] == "pretrain"].set_index("participant")["test_accuracy_percent"]
    assert (best.teacher_accuracy, best.student_accuracy) == (before[0], before[1])
    assert best.accuracy == pytest.approx(before[1] + best.gain)


def test_the_model_is_a_student_with_the_accuracy_on_record(pair, found):
    _, student, given = pair
    best, _ = found
    tuned = best.trials().query("stage == 'tune'").set_index(["temperature", "alpha"])
    recorded = tuned.loc[(best.temperature, best.alpha), "test_accuracy_percent"]
    assert 100 * measure_accuracy(best.model, given["test"]) == pytest.approx(recorded)
    assert type(best.model) is nn.Sequential and not best.model.training
    assert best.model is best.model and best.model is not student
    before = measure_accuracy(student, given["test"])
    wanted = {"distil": best.gain, "train on": best.control_gain, "leave as it is": 0}
    after = measure_accuracy(best.advised_model, given["test"])
    assert 100 * (after - before) == pytest.approx(wanted[best.verdict])


def test_a_student_that_was_not_kept_is_trained_again(pair, found):
    best, _ = found
    rows = [r for r in best.campaign.tables.results.rows if r.stage == "tune"]
    worst = min(rows, key=lambda row: row.outcome.validation_gain)
    again = best._load_student(worst)
    kept = best._load_student(best._row)
    assert measure_accuracy(again, pair[2]["test"]) == worst.outcome.test.accuracy
    for key, value in best.model.state_dict().items():
        assert torch.equal(value, kept.state_dict()[key])


def test_figures_and_optunas_tools_work_on_the_study(found):
    best, path = found
    assert best.surface().shape == (2, 2)
    assert (
        isinstance(best.plot_surface(), go.Figure) and best.plot_surface().data[0].type == "heatmap"
    )
    url = f"sqlite:///{path}"
    study = optuna.load_study(study_name=best.study.study_name, storage=url)
    assert len(study.trials_dataframe()) == 4 and study.best_trial.values
    figure = optuna.visualization.plot_contour(study, params=["temperature", "alpha"])
    assert isinstance(figure, go.Figure)
    with kdopt.open(path) as store:
        assert list(store) == ["tune"] and len(store["tune"].trials()) == 7


def test_models_threads_and_random_numbers_of_the_caller_stay_as_they_are(pair):
    teacher, student, given = pair
    modes = [(m, m.training, copy.deepcopy(m.state_dict())) for m in (teacher, student)]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = kdopt.tune(teacher, student, **given, budget=1)
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads
    for module, training, weights in modes:
        assert module.training == training
        for key, value in module.state_dict().items():
            assert torch.equal(value, weights[key])
    # And whether they were left training is no matter.
    second = kdopt.tune(teacher.eval(), student.eval(), **given, budget=1)
    teacher.train(), student.train()
    pd.testing.assert_frame_equal(tabulate(first), tabulate(second))


CAMPAIGN = """
name = "tune"
precision = "fp32"
partitions = ["own"]
stages = ["tune"]
[data]
name = "arrays"
root = "{root}/data.npz"
normalization = "{normalization}"
[distill]
epochs = 2
[tune]
temperatures = [2]
alphas = [0.9]
[[participant]]
name = "teacher"
model = "{model}"
weights = "{root}/teacher.pt"
[[participant]]
name = "student"
model = "{model}"
weights = "{root}/student.pt"
data = "{root}/own.npz"
"""


def run_campaign(root, text) -> tuple[list[TrialRow], object]:
    spec = parse_spec(text)
    store, artifacts = open_store(str(root / "c.db"), create=True), Artifacts(root / "artifacts")
    dataset = load_dataset(spec.campaign)
    weights = read_given_weights(spec.campaign, dataset)
    splits = draw_splits(spec.campaign, dataset)
    plan_campaign(spec, dataset, splits, store, artifacts, weights)
    run_trials(store, artifacts, "tune", make_engine("fp32", "cpu"))
    rows = read_trials(store, "tune")
    store.close()
    return rows, dataset


@pytest.mark.parametrize(("model", "normalization"), [("cnn", "standardize"), ("mlp", "none")])
def test_a_campaign_of_the_same_pair_gives_the_same_bits(tmp_path, pair, model, normalization):
    _, _, given = pair
    vectors = model == "mlp"
    sets = {}
    for name in ("train", "validation", "test"):
        x, y = given[name]
        bytes_ = np.round(x.reshape(-1, 1, 8, 8) * 255).astype(np.uint8)
        sets[name] = (x if vectors else bytes_, y)
    # Somebody has to have training images besides the participant's own.
    arrays = {f"{name}_{kind}": sets[name][i] for name in sets for i, kind in enumerate("xy")}
    rest = {"train": "train", "validation": "validation", "test": "test"}
    np.savez(
        tmp_path / "data.npz",
        **{f"{new}_{kind}": arrays[f"{old}_{kind}"] for new, old in rest.items() for kind in "xy"},
    )
    np.savez(tmp_path / "own.npz", x=sets["train"][0], y=sets["train"][1])
    shape = (64,) if vectors else (1, 8, 8)
    modules = []
    for seed, role in enumerate(("teacher", "student")):
        torch.manual_seed(seed)
        modules.append(make_model(model, shape, 10))
        torch.save(modules[-1].state_dict(), tmp_path / f"{role}.pt")
    text = CAMPAIGN.format(root=tmp_path, model=model, normalization=normalization)
    rows, dataset = run_campaign(tmp_path, text)

    def prepare(inputs, labels):
        images = Images(torch.tensor(inputs), torch.tensor(labels), dataset.mean, dataset.std)
        return images.batch(slice(None)).contiguous(), labels

    best = kdopt.tune(
        *modules,
        **{name: prepare(*data) for name, data in sets.items()},
        epochs=2,
        precision="fp32",
        device="cpu",
        progress=False,
        sampler="grid",
        temperatures=[2],
        alphas=[0.9],
    )
    ours = {(r.study, r.number): r.outcome for r in best.campaign.tables.results.rows}
    assert len(ours) == len(rows) == 5
    for row in rows:
        mine = ours[row.study, row.number]
        assert (mine.validation, mine.test, mine.value) == (
            row.outcome.validation,
            row.outcome.test,
            row.outcome.value,
        ), row.study


class DiesOnce(nn.Module):
    """A student that kills the first copy of this process in the middle of a training."""

    def __init__(self, inner, path):
        super().__init__()
        self.inner, self.path, self.parent = inner, path, os.getpid()

    def forward(self, x):
        if self.training and os.getpid() != self.parent and not self.path.exists():
            self.path.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)


def test_two_workers_of_which_one_is_killed_give_the_table_of_one(pair, tmp_path):
    teacher, student, given = pair
    options = {**given, **GRID, "methods": ["kd", "dkd"], "dkd": {"alpha": [1], "beta": [2, 8]}}
    dying = DiesOnce(student, tmp_path / "died")
    several = kdopt.tune(teacher, dying, **options, workers=2, store=tmp_path / "two.db")
    assert dying.path.exists()
    alone = kdopt.tune(teacher, DiesOnce(student, tmp_path / "died"), **options)
    table = tabulate(several)
    assert set(table["state"]) == {"COMPLETE"}
    pd.testing.assert_frame_equal(table, tabulate(alone))
    assert several.parameters == alone.parameters


def test_a_second_call_goes_on_and_tells_callbacks_what_is_new(pair, tmp_path):
    teacher, student, given = pair
    # Where TPE begins to learn depends on its budget.
    path, told, given = tmp_path / "kdopt.db", [], {**given, "sampler": "random"}

    def note(study, trial):
        assert isinstance(study, optuna.Study) and isinstance(trial, optuna.trial.FrozenTrial)
        told.append((trial.number, trial.value, study.trials[trial.number].state.name))

    short = kdopt.tune(teacher, student, **given, budget=2, store=path, callbacks=[note])
    assert [number for number, *_ in told] == [0, 1]
    long = kdopt.tune(teacher, student, **given, budget=4, store=path, callbacks=[note])
    assert [number for number, *_ in told] == [0, 1, 2, 3] and told[3][2] == "COMPLETE"
    assert len(long.trials()) == len(short.trials()) + 2
    at_once = kdopt.tune(teacher, student, **given, budget=4)
    pd.testing.assert_frame_equal(tabulate(long), tabulate(at_once))
    with pytest.raises(StoreError, match="other values of: distill, participant student"):
        kdopt.tune(teacher, teacher, **{**given, "epochs": 3}, budget=4, store=path)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_done(pair, tmp_path, workers):
    teacher, student, given = pair
    path, told = tmp_path / "kdopt.db", []
    options = {**given, **GRID, "store": path, "workers": workers}

    def interrupt(_study, trial):
        told.append(trial.number)
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = r"stopped with \d of 7 trials done.* the same call goes on"
    with pytest.raises(kdopt.TuningStopped, match=stopped) as end:
        kdopt.tune(teacher, student, **options, callbacks=[interrupt])
    assert isinstance(end.value, KeyboardInterrupt)
    assert end.value.best.gain is not None and len(end.value.best.trials()) == 7
    rest = kdopt.tune(teacher, student, **options, callbacks=[interrupt])
    assert len(told) == len(set(told)) and set(told) <= {0, 1, 2, 3}
    assert workers > 1 or told == [0, 1, 2, 3]
    assert set(rest.trials()["state"]) == {"COMPLETE"}


def test_a_fault_of_a_callback_is_the_callers_and_loses_nothing(pair, tmp_path):
    teacher, student, given = pair

    def fail(_study, _trial):
        raise ZeroDivisionError("mine")

    path = tmp_path / "kdopt.db"
    with pytest.raises(ZeroDivisionError, match="mine"):
        kdopt.tune(teacher, student, **given, **GRID, store=path, callbacks=[fail])
    states = kdopt.open(path)["tune"].trials()["state"].value_counts()
    assert states["COMPLETE"] >= 3 and "RUNNING" not in states and "FAIL" not in states


def test_a_teacher_may_be_its_logits(pair):
    teacher, student, given = pair
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as trials compute them, to the last bit
    with torch.no_grad():
        logits = {name: teacher(torch.tensor(given[name][0])).numpy() for name in ("train",)}
    torch.set_num_threads(threads)
    by_module = kdopt.tune(teacher, student, **given, **GRID)
    for known in (logits["train"], logits):
        by_logits = kdopt.tune(known, student, **given, **GRID)
        assert np.isnan(by_logits.teacher_accuracy) and "the teacher has" not in repr(by_logits)
        assert by_logits.gain == by_module.gain and by_logits.parameters == by_module.parameters
    with pytest.raises(InputError, match="dml trains the teacher along"):
        kdopt.tune(logits, student, **given, methods=["kd", "dml"])
    with pytest.raises(InputError, match=r"sampler='warm': .* its logits are of train only"):
        kdopt.tune(logits, student, **given, sampler="warm")


def test_tokens_and_data_sets_of_torch_are_taken_as_they_are(pair):
    torch.manual_seed(0)
    tokens = torch.randint(1, 50, (240, 6))
    labels = (tokens < 25).sum(1).gt(2).long()

    def make():
        return nn.Sequential(nn.EmbeddingBag(50, 8), nn.Dropout(0.1), nn.Linear(8, 2))

    parts = [TensorDataset(tokens[i : i + 80], labels[i : i + 80]) for i in (0, 80, 160)]
    data = dict(zip(("train", "validation", "test"), parts, strict=True))
    quick = {"epochs": 1, "budget": 2, "device": "cpu", "progress": False}
    teacher, student = make(), make()
    first = kdopt.tune(teacher, student, **data, **quick)
    arrays = {name: (d.tensors[0].numpy(), d.tensors[1].numpy()) for name, d in data.items()}
    pd.testing.assert_frame_equal(
        tabulate(first), tabulate(kdopt.tune(teacher, student, **arrays, **quick))
    )


def test_a_teacher_that_knows_nothing_is_named(pair, caplog):
    _, student, given = pair
    nothing = nn.Linear(64, 10)
    nn.init.zeros_(nothing.weight)
    best = kdopt.tune(nothing, student, **given, budget=1)
    assert f"the teacher is right on {best.teacher_accuracy:.1f} % of test" in caplog.text


class Fails(nn.Module):
    """A student that takes two inputs while it trains, and no more."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        if self.training and len(x) > 2:
            raise ValueError("no room for so many")
        return self.inner(x)


def test_when_every_trial_fails_the_reason_is_said(pair):
    teacher, student, given = pair
    where = "no student was distilled: tune/own/.*ValueError: no room for so many"
    with pytest.raises(KdoptError, match=where):
        kdopt.tune(teacher, Fails(student), **given, budget=1)


def test_several_workers_are_refused_where_they_make_no_sense(pair, monkeypatch):
    teacher, student, given = pair
    with pytest.raises(InputError, match="workers=0: give a whole number"):
        kdopt.tune(teacher, student, **given, workers=0)
    monkeypatch.setattr("kdopt.api.forked.sys.platform", "darwin")
    with pytest.raises(InputError, match="workers=2: this system cannot copy a process"):
        kdopt.tune(teacher, student, **given, workers=2)
