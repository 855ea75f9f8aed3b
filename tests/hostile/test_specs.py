"""Campaigns whose trials could only fail are refused when they are planned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.spec import list_settings, parse_spec
from kdopt.cli.campaign_file import plan_spec
from kdopt.errors import KdoptError, SpecError
from kdopt.train import rehearsal
from kdopt.train.rehearsal import rehearse_model

HEAD = 'name = "tiny"\nmodel = "mlp"\nparticipants = 2\n[data]\nname = "digits"\n'
HUGE = 2**62
NUMBERS = {
    "pretrain.batch_size": [2**63, HUGE, 10**7, 1, 0, -1],
    "distill.batch_size": [HUGE],
    "federate.batch_size": [HUGE],
    "pretrain.epochs": [HUGE, 10**7],
    "distill.patience": [HUGE, -1],
    "combine.epochs": [HUGE],
    "combine.patience": [HUGE],
    "federate.local_epochs": [HUGE],
    "federate.save_every": [HUGE],
    "transfer.public_labeled": [HUGE, -1],
    "data.train_size": [HUGE],
    "data.test_size": [HUGE],
    "partition.uniform.min_size": [HUGE],
    "partition.uniform.max_draws": [10**12],
    "partition.label_chunks.chunk_size": [HUGE],
    "partition.label_chunks.classes": [HUGE],
    "partition.quantity_skew.concentration": [1e-6, 1e-300, 1e300],
    "partition.label_dirichlet.concentration": [[1e-6], [0.5, 1e-6], [5e-324], [1e300]],
    "tune.temperatures": [[1e-40], [1.0, 1e-38], [5e-324], [1e-20]],
    "tune.vanilla_temperature": [1e-40],
    "compare.dml_temperature": [1e-40],
    "compare.dp_kd_temperature": [1e-40],
}


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_on_which_a_trial_could_only_fail_are_refused(key):
    table, _, name = key.rpartition(".")
    head = HEAD if table != "data" else HEAD.removesuffix('[data]\nname = "digits"\n')
    extra = 'name = "digits"\n' if table == "data" else ""
    for value in NUMBERS[key]:
        with pytest.raises(SpecError) as found:
            parse_spec(f"{head}[{table}]\n{extra}{name} = {value}\n")
        message = str(found.value)
        assert key in message and "change it" in message and len(message) < 2000, message


def test_every_number_of_a_campaign_file_has_an_upper_bound():
    numbers = [entry for entry in list_settings() if "number" in entry.rule]
    assert len(numbers) > 40
    assert [entry.key for entry in numbers if "<" not in entry.rule] == []


def test_a_comparison_without_images_on_any_set_is_refused():
    spec = (
        'name = "tiny"\nmodel = "mlp"\nstages = ["compare"]\n[data]\nname = "digits"\n'
        "[compare]\ntransfer_sets = {sets}\n[transfer]\npublic_labeled = {images}\n"
    )
    with pytest.raises(SpecError, match=r"compare\.transfer_sets = public_labeled: none of them"):
        parse_spec(spec.format(sets='["public_labeled"]', images=0))
    for sets, images in (('["public_labeled"]', 5), ('["student", "public_labeled"]', 0)):
        parse_spec(spec.format(sets=sets, images=images))


class _Tied(nn.Module):
    """Two names for the same weights: these cannot be saved as safetensors."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 10)
        self.second = self.first

    def forward(self, images):
        return self.second(images.flatten(1))


class _Forgetful(nn.Linear):
    """It keeps a buffer that is not the same when it is loaded."""

    def __init__(self):
        super().__init__(64, 10)
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, images):
        return super().forward(images.flatten(1))

    def _load_from_state_dict(self, *_):
        raise ValueError("version shall be set to 1 or 2 instead of None")


class _Detached(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

    def forward(self, images):
        return super().forward(images.flatten(1)).detach()


class _Endless(_Detached):
    def forward(self, images):
        return nn.Linear.forward(self, images.flatten(1)) * float("inf")


class _Stumbling(_Detached):
    def forward(self, images):
        raise ZeroDivisionError("no such luck")


MODELS = {
    _Tied: "cannot load its own weights again",
    _Forgetful: "cannot load its own weights again: version shall be set to 1 or 2",
    _Detached: "cannot be trained",
    _Endless: "its logits are not finite",
    _Stumbling: "cannot be trained: no such luck",
}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_cannot_be_trained_or_loaded_is_refused(model, monkeypatch):
    monkeypatch.setattr(rehearsal, "build_model", lambda *_: model())
    with pytest.raises(KdoptError, match="choose another model") as found:
        rehearse_model(Architecture("odd"), (1, 8, 8), "0123456789", (0.5,), (0.5,))
    assert MODELS[model] in str(found.value)


@pytest.mark.parametrize("name", ["cnn", "mlp", "resnet18", "squeezenet1_0", "shufflenet_v2_x0_5"])
def test_good_models_pass(name):
    before = torch.get_rng_state()
    rehearse_model(Architecture(name), (3, 32, 32), "0123456789", (0.5,) * 3, (0.5,) * 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_mnasnet_is_refused_before_a_store_is_made(tmp_path):
    """Torchvision's own cannot be loaded from a plain state dict."""
    path = tmp_path / "spec.toml"
    path.write_text(HEAD.replace("mlp", "mnasnet0_5"))
    with pytest.raises(KdoptError, match="'mnasnet0_5': it cannot load its own weights again"):
        plan_spec(path, str(tmp_path / "store" / "kdopt.db"), None)
    assert not (tmp_path / "store").exists()
