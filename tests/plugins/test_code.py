from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from kdopt.campaign.compatibility import list_differences, unite_records
from kdopt.campaign.data_settings import GIVEN
from kdopt.campaign.record import CampaignRecord, format_campaign
from kdopt.campaign.spec import parse_spec
from kdopt.cli.campaign_file import plan_spec
from kdopt.cli.inputs import make_call, open_artifacts, open_store_at
from kdopt.errors import KdoptError, SpecError, StoreError
from kdopt.plugins.code import PLUGIN_NAMES, check_given_plugins, find_code, use_recorded_code
from kdopt.plugins.sources import describe_package, give_plugins
from kdopt.store import queries
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.plugins.offers import CAMPAIGN, PLUGIN, install_package, write_campaign, write_plugin
from tests.plugins.test_sources import CODE, OFFERS

HEAD = 'name = "mine"\nmodel = "{model}"\nparticipants = 2\n[data]\nname = "digits"\n'


class Planned(NamedTuple):
    """A campaign with a plugin, and where it is."""

    folder: Path
    record: CampaignRecord


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    give_plugins([write_plugin(folder)])
    done = plan_spec(write_campaign(folder), str(folder / "kdopt.db"), None)
    record = queries.read_record(done.store, "mine")
    run_trials(done.store, done.artifacts, "mine", make_engine("fp32", "cpu"))
    states = {row.state for row in queries.read_trials(done.store, "mine")}
    done.store.close()
    assert states == {"COMPLETE"}
    return Planned(folder, record)


def test_a_campaign_of_a_plugin_names_its_code_and_its_space(planned):
    code = planned.record.code
    assert sorted(code) == ["dataset stripes", "method cosine_kd", "model tiny_net"]
    assert {(source.kind, source.name) for source in code.values()} == {("file", "mine.py")}
    (method,) = planned.record.campaign.tune.plugin_methods
    assert [(p.name, p.values, p.published) for p in method.params] == [
        ("weight", (0.25,), 0.7),
        ("temperature", (1.0, 4.0), 2.0),
    ]
    kept = json.loads(json.dumps(planned.record.to_json()))
    assert CampaignRecord.from_json(kept) == planned.record


def test_every_setting_of_the_method_is_tried_and_the_published_one_first(planned):
    from kdopt.campaign.stages import plan_studies

    study = next(s for s in plan_studies(planned.record.campaign) if s.method == "cosine_kd")
    cells = [(cell["weight"], cell["temperature"]) for cell in study.cells]
    assert cells == [(0.7, 2.0), (0.25, 1.0), (0.25, 4.0)]
    assert study.space["temperature"].log and not study.space["weight"].log


def test_the_exported_file_means_the_same_campaign(planned):
    give_plugins([write_plugin(planned.folder)])
    text = format_campaign(planned.record.campaign, planned.record.settings)
    assert parse_spec(text, plugins=PLUGIN_NAMES).campaign == planned.record.campaign


def test_workers_that_are_started_get_the_files_that_their_starter_gave(planned):
    store = open_store_at(str(planned.folder / "kdopt.db"))
    give_plugins([planned.folder / "mine.py"])
    assert make_call(store, open_artifacts(store, None), "mine").plugins == (
        str(planned.folder / "mine.py"),
    )
    give_plugins([])
    assert make_call(store, open_artifacts(store, None), "mine").plugins == ()
    store.close()


def test_a_worker_without_the_file_is_told_what_to_give(planned):
    give_plugins([])
    with pytest.raises(KdoptError) as caught:
        check_given_plugins(planned.record)
    message = str(caught.value)
    sha256 = next(iter(planned.record.code.values())).sha256
    assert f"'mine.py', sha256 {sha256[:12]}" in message and "--plugin PATH/mine.py" in message
    assert "KDOPT_PLUGINS" in message and "method cosine_kd" in message


def test_a_file_that_differs_by_a_byte_is_named_and_is_not_run(planned, tmp_path):
    other = write_plugin(tmp_path, PLUGIN + " \nraise SystemExit('it ran')")
    give_plugins([other])
    with pytest.raises(KdoptError, match=f"another file: {other}"):
        use_recorded_code(planned.record)


def test_a_file_that_differs_by_a_byte_is_another_campaign(planned, tmp_path):
    give_plugins([write_plugin(tmp_path, PLUGIN + "\n")])
    with pytest.raises(StoreError) as caught:
        plan_spec(write_campaign(tmp_path), str(planned.folder / "kdopt.db"), None)
    for key in ("model tiny_net", "method cosine_kd", "dataset stripes"):
        assert f"{key} (its code is not the same)" in str(caught.value)


def test_the_same_file_under_another_name_is_the_same_campaign(planned, tmp_path):
    give_plugins([write_plugin(tmp_path, name="renamed.py")])
    done = plan_spec(write_campaign(tmp_path), str(planned.folder / "kdopt.db"), None)
    done.store.close()
    assert (done.planned.new_studies, done.planned.new_trials) == (0, 0)
    use_recorded_code(planned.record)


def test_a_grown_campaign_has_the_values_and_the_code_of_both(planned):
    now = planned.record
    (method,) = now.campaign.tune.plugin_methods
    params = tuple(replace(p, values=(*p.values[1:], 8.0)) for p in method.params)
    tune = replace(now.campaign.tune, plugin_methods=(replace(method, params=params),))
    later = replace(now, campaign=replace(now.campaign, tune=tune), code={})
    assert list_differences(now, later) == []
    united = unite_records(now, later)
    assert united.code == now.code
    (method,) = united.campaign.tune.plugin_methods
    assert [p.values for p in method.params] == [(8.0, 0.25), (4.0, 8.0, 1.0)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("weight = [0.25]", "wieght = [1]", "tune.cosine_kd.wieght: unknown key"),
        ("weight = [0.25]", "weight = []", "one or more numbers"),
        ("weight = [0.25]", "weight = [1, 1]", "each value may be listed once only"),
        ("weight = [0.25]", 'weight = ["a"]', "one or more numbers"),
        ("weight = [0.25]", "weight = [inf]", "one or more numbers"),
        ("weight = [0.25]", "temperature = [0]", "must be above 0"),
        ('"kd", "cosine_kd"', '"cosine_kd", "cosine_kd"', "listed once only"),
        ('"kd", "cosine_kd"', '"kd", "cosine"', "tune.methods[1] = 'cosine': there is no such"),
        ('name = "stripes"', 'name = "strips"', "data.name = 'strips': one of digits"),
        (CAMPAIGN.partition("[tune]\n")[2], "methods = []\n", "must have one"),
        ('[tune]\nmethods = ["kd", "cosine_kd"]', '[tune]\nmethods = ["kd"]', "cosine_kd: unknown"),
    ],
)
def test_a_mistake_in_what_is_searched_is_one_line(tmp_path, old, new, words):
    give_plugins([write_plugin(tmp_path)])
    assert old in CAMPAIGN
    with pytest.raises(SpecError) as caught:
        parse_spec(CAMPAIGN.replace(old, new), plugins=PLUGIN_NAMES)
    assert words in str(caught.value)


LOSS = """
from torch.nn import functional
from kdopt.plugins import register_method

@register_method("bad_kd", space={"weight": [1.0, 2.0]}, published={"weight": 1.0})
def make(inputs, *, weight):
    def loss(index, logits):
        %s
    return loss
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return logits @ logits", "its loss fails: RuntimeError"),
        ("return (logits - logits).log().sum()", "is not finite"),
        ("return logits.detach().sum()", "its loss fails"),
        ("return 1.0", "its loss fails"),
        ("return logits.sum(1)", "its loss fails"),
        ("return (logits * (weight - 2)).log().sum()", "at weight=1 its loss or the gradient"),
    ],
)
def test_a_loss_that_could_only_fail_is_refused_when_it_is_planned(tmp_path, body, words):
    give_plugins([write_plugin(tmp_path, LOSS % body)])
    spec = write_campaign(tmp_path, HEAD.format(model="mlp") + '[tune]\nmethods = ["bad_kd"]\n')
    with pytest.raises(KdoptError) as caught:
        plan_spec(spec, str(tmp_path / "kdopt.db"), None)
    assert "method 'bad_kd'" in str(caught.value) and words in str(caught.value)
    assert not (tmp_path / "kdopt.db").exists()


def test_the_code_of_a_package_is_compared_before_it_is_imported(tmp_path, monkeypatch):
    install_package(tmp_path, "lab_models", CODE, OFFERS)
    monkeypatch.syspath_prepend(tmp_path)
    spec = parse_spec(HEAD.format(model="lab_net"))
    code = find_code(spec.campaign)
    assert code == {"model lab_net": describe_package("lab_models")}
    record = CampaignRecord(spec.campaign, spec.settings, "0" * 64, {}, code=code)
    use_recorded_code(record)
    sys.modules.pop("lab_models")
    (tmp_path / "lab_models.py").write_text(CODE + "# changed\n")
    describe_package.cache_clear()
    with pytest.raises(KdoptError, match=r"the files of that version are others here.*==1\.0"):
        use_recorded_code(record)
    older = code["model lab_net"]._replace(version="0.9")
    with pytest.raises(KdoptError, match=r"lab_models 0\.9 .*this machine has 1\.0; pip install"):
        use_recorded_code(replace(record, code={"model lab_net": older}))
    absent = code["model lab_net"]._replace(name="lab_absent")
    with pytest.raises(KdoptError, match=r"not installed here; pip install 'lab_absent==1\.0'"):
        use_recorded_code(replace(record, code={"model lab_net": absent}))
    assert "lab_models" not in sys.modules


def test_a_package_does_not_take_a_name_of_torchvision(tmp_path, monkeypatch):
    offers = "[kdopt.models]\nresnet50 = lab_models:make\n"
    install_package(tmp_path, "lab_models", CODE.replace("lab_net", "resnet50"), offers)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_code(parse_spec(HEAD.format(model="resnet50")).campaign) == {}
    assert "lab_models" not in sys.modules
    give_plugins([write_plugin(tmp_path, CODE.replace("lab_net", "resnet50"))])
    with pytest.raises(KdoptError, match="write torchvision:resnet50"):
        find_code(parse_spec(HEAD.format(model="resnet50")).campaign)


def test_models_that_python_gave_are_not_looked_up_by_their_names(monkeypatch):
    campaign = parse_spec(HEAD.format(model="student.Linear")).campaign
    monkeypatch.setattr("kdopt.plugins.code.use_model", lambda name: {name: "looked up"})
    assert find_code(campaign) == {"student.Linear": "looked up"}
    assert find_code(replace(campaign, data=replace(campaign.data, name=GIVEN))) == {}


def test_models_of_libraries_are_named_with_their_version():
    code = find_code(parse_spec(HEAD.format(model="torchvision:resnet18")).campaign)
    assert code == {"model torchvision:resnet18": describe_package("torchvision")}


def test_a_student_of_a_plugins_model_is_read_where_the_very_file_is_given(planned, tmp_path):
    from kdopt.analysis.students import TrialChoice
    from kdopt.outcome import Pair
    from kdopt.service import distill as home
    from kdopt.service.distill import distill_student
    from kdopt.train.students import read_student

    give_plugins([write_plugin(planned.folder)])
    store = open_store_at(str(planned.folder / "kdopt.db"))
    student = distill_student(
        store, open_artifacts(store, None), "mine", Pair("uniform", 0, 1), TrialChoice(), None
    )
    store.close()
    path = tmp_path / "student.safetensors"
    suffixes = [home.WEIGHTS, home.CARD]
    home.write_student(student, path, suffixes, lambda _: "")
    assert len(read_student(path).predict(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))) == 3
    give_plugins([])
    with pytest.raises(KdoptError, match=r"a plugin's, sha256 \w{12}; give the very file by"):
        read_student(path)
    give_plugins([write_plugin(tmp_path, PLUGIN + "\n")])
    with pytest.raises(KdoptError, match=r"mine\.py is other code"):
        read_student(path)
