"""Models for token ids against plain NumPy, and what padding may not do."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.shapes import TokenShape
from kdopt.errors import KdoptError
from kdopt.train.adapted import build_model
from kdopt.train.engine import Engine, Images, seeded
from kdopt.train.evaluation import predict_logits
from kdopt.train.models import make_model
from kdopt.train.rehearsal import rehearse_model


@pytest.mark.parametrize("name", ["cnn", "mlp", "resnet18", "squeezenet1_0", "vit_b_32"])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32)])
def test_models_fit_the_channels_and_classes_of_the_data(name, shape):
    model = make_model(name, shape, 7)
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("side", [4, 8, 28])
def test_the_small_nets_take_small_images(side):
    for name in ("cnn", "mlp"):
        assert make_model(name, (1, side, side), 10)(torch.zeros(2, 1, side, side)).shape == (2, 10)


def test_resnet18_has_the_stem_for_small_images():
    model = make_model("resnet18", (3, 32, 32), 10)
    assert model.conv1.kernel_size == (3, 3)
    assert model.conv1.stride == (1, 1)
    assert isinstance(model.maxpool, nn.Identity)
    # 32 x 32 images reach the last block at 4 x 4.
    seen = []
    model.layer4.register_forward_hook(lambda m, i, o: seen.append(o.shape))
    model(torch.zeros(2, 3, 32, 32))
    assert seen[0] == (2, 512, 4, 4)


def test_initial_weights_depend_on_the_seed_alone():
    def weights(seed):
        with seeded(seed, torch.device("cpu")):
            return make_model("cnn", (1, 8, 8), 10).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert torch.equal(first["1.running_mean"], torch.zeros(16))
    assert int(first["1.num_batches_tracked"]) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", "no such model; did you mean .*resnet18"),
        ("os.system", "no such model"),
        ("alexnet", "cannot classify images of 1x8x8"),
    ],
)
def test_an_unfit_model_is_a_clear_error(name, message):
    with pytest.raises(KdoptError, match=message):
        make_model(name, (1, 8, 8), 10)


def test_pooling_before_the_ramp_is_the_same_as_after_it_bit_for_bit():
    torch.manual_seed(0)
    images = torch.randint(0, 2, (8, 1, 28, 28)).float()  # flat patches: many ties in a window
    found = []
    for reorder in (False, True):
        torch.manual_seed(1)
        layers = list(make_model("cnn", (1, 28, 28), 10))
        if reorder:
            for i in [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]:
                assert isinstance(layers[i + 1], nn.ReLU)
                layers[i : i + 2] = layers[i + 1], layers[i]
        model = nn.Sequential(*layers)
        logits = model(images)
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        found.append([logits, *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [1, 3, 7])
def test_the_mean_of_the_cnn_is_average_pooling_bit_for_bit(dtype, side):
    torch.manual_seed(side)
    images = torch.randn(32, 64, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    weights = torch.randn(32, 64).to(dtype)
    mean = make_model("cnn", (1, 28, 28), 10)[-3]
    found = []
    for layers in (mean, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())):
        shown = images.clone().requires_grad_()
        out = layers(shown)
        (out * weights).sum().backward()
        found.append((out.detach(), shown.grad))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert found[0][0].shape == (32, 64)


CPU = torch.device("cpu")


def test_models_of_timm_take_any_images_and_start_from_torchs_generator():
    pytest.importorskip("timm")
    for name in ("timm:test_vit", "timm:test_resnet"):
        states = []
        for seed in (0, 0, 1):
            with seeded(seed, CPU):
                states.append(make_model(name, (1, 32, 32), 7).state_dict())
        same, other = ([torch.equal(states[0][k], s[k]) for k in states[0]] for s in states[1:])
        assert all(same) and not all(other), name
    model = make_model("timm:test_vit", (3, 48, 48), 5)
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 5)


def test_a_model_of_timm_stands_between_images_of_another_size():
    pytest.importorskip("timm")
    kind = Architecture("timm:test_vit", image_size=32, channels=3)
    rehearse_model(kind, (1, 8, 8), tuple("abc"), (0.5,), (0.5,))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:test_vitt", "did you mean test_vit"),
        ("timm:test_vit.r160_in1k", "write timm:test_vit, and give weights by 'weights'"),
        ("timm:hf-hub:timm/test_vit", "no such model"),
        ("timm:local-dir:/tmp", "no such model"),
        ("timm:../../x", "no such model"),
    ],
)
def test_only_names_of_timms_registry_are_taken_and_nothing_is_downloaded(name, words):
    pytest.importorskip("timm")
    with pytest.raises(KdoptError) as caught:
        make_model(name, (1, 32, 32), 3)
    assert words in str(caught.value)


def test_images_that_a_model_cannot_cut_up_are_one_message():
    pytest.importorskip("timm")
    with pytest.raises(KdoptError, match="cannot classify images of 1x8x8"):
        make_model("timm:test_vit", (1, 8, 8), 3)


def test_vectors_are_refused():
    with pytest.raises(KdoptError, match="it takes images, and the data are vectors"):
        make_model("timm:test_vit", (64,), 3)


def test_an_extra_that_is_not_installed_is_named_with_its_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(KdoptError) as caught:
        make_model("timm:test_vit", (1, 32, 32), 3)
    assert "timm is not installed" in str(caught.value)
    assert "pip install 'kdopt[timm]'" in str(caught.value)


SHAPE = TokenShape(6, 20, 3)
MODELS = ["embedding_bag", "text_cnn"]


def build(name, shape=SHAPE):
    torch.manual_seed(0)
    return make_model(name, shape, 4).eval()


def show(model, rows):
    with torch.no_grad():
        return model(torch.tensor(rows)).numpy()


@pytest.mark.parametrize("name", MODELS)
def test_padding_after_a_sequence_changes_nothing(name):
    model = build(name)
    short, long = show(model, [[7, 8, 9, 3]]), show(model, [[7, 8, 9, 3, 3, 3, 3, 3]])
    assert np.allclose(short, long, atol=1e-6)
    with torch.no_grad():
        model.embedding.weight[3] += 1  # what padding is embedded as
    assert np.array_equal(show(model, [[7, 8, 9, 3]]), short)


def test_a_bag_is_the_mean_of_its_words_in_any_order():
    model = build("embedding_bag")
    table, weight, bias = (p.detach().numpy() for p in model.parameters())
    expected = table[[7, 8, 8]].mean(axis=0) @ weight.T + bias
    assert np.allclose(show(model, [[7, 8, 8, 3]]), expected, atol=1e-6)
    assert np.allclose(show(model, [[8, 7, 3, 8]]), expected, atol=1e-6)


def test_a_text_cnn_takes_the_greatest_value_of_each_filter():
    model = build("text_cnn")
    state = {k: v.numpy() for k, v in model.state_dict().items()}
    words = state["embedding.weight"][[7, 8, 9, 10]]
    features = []
    for number, width in enumerate((2, 3, 4)):
        none = np.zeros((width - 1, words.shape[1]))
        padded = np.concatenate([none, words, none])
        kernel = state[f"filters.{number}.weight"]
        windows = [padded[i : i + width].T for i in range(len(padded) - width + 1)]
        found = np.array([(kernel * window).sum(axis=(1, 2)) for window in windows])
        features.append(np.maximum(found + state[f"filters.{number}.bias"], 0).max(axis=0))
    expected = np.concatenate(features) @ state["head.weight"].T + state["head.bias"]
    assert np.allclose(show(model, [[7, 8, 9, 10]]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cnn", (4,), "'cnn': it takes images, and the data are vectors of 4 numbers; set"),
        ("resnet18", SHAPE, "are sequences of 6 token ids below 20; set model to embedding_bag or"),
        ("mlp", SHAPE, "it takes images and vectors, and the data are sequences"),
        ("text_cnn", (1, 8, 8), "it takes tokens, and the data are images of 1x8x8; set"),
        ("mobilenet_v2", (4,), "'mobilenet_v2': it takes images, and .* set model to mlp"),
    ],
)
def test_a_model_of_another_kind_is_refused_by_name(name, shape, message):
    with pytest.raises(KdoptError, match=message):
        make_model(name, shape, 4)


@pytest.mark.parametrize("setting", [{"image_size": 8}, {"channels": 3}, {"mean": (0.5,)}])
def test_what_a_participant_says_of_images_is_refused_for_vectors(setting):
    kind = Architecture("mlp")._replace(**setting)
    with pytest.raises(KdoptError, match=f"{next(iter(setting))} is for images, and the data are"):
        build_model(kind, (4,), "abc", (), ())


def test_classes_of_a_model_of_vectors_may_be_in_another_order():
    torch.manual_seed(0)
    model = build_model(Architecture("mlp", classes=("c", "a")), (4,), "abc", (), ()).eval()
    rows = torch.randn(5, 4)
    with torch.no_grad():
        found, own = model(rows), model.model(rows)
    assert torch.equal(found[:, [2, 0]], own) and bool((found[:, 1] < own.amin(dim=1) - 9).all())


def test_vectors_are_normalised_when_taken_and_left_as_they_are():
    values = torch.tensor([[1.0, 20.0], [3.0, 40.0]])
    images = Images(values.clone(), torch.zeros(2, dtype=torch.int64), (2.0, 30.0), (1.0, 10.0))
    wanted = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    assert torch.equal(images.batch(slice(0, 2)), wanted)
    assert torch.equal(images.batch(torch.tensor([1, 0])), wanted.flip(0))
    assert torch.equal(images.pixels, values)
    assert torch.equal(images.take(torch.tensor([1])).batch(slice(0, 1)), wanted[1:])


def test_token_ids_reach_the_model_as_they_are():
    tokens = torch.tensor([[1, 2, 3, 3, 3, 3], [5, 6, 7, 8, 9, 3]])
    images = Images(tokens, torch.zeros(2, dtype=torch.int64), (), ())
    assert torch.equal(images.batch(torch.tensor([1])), tokens[1:])
    model = build("text_cnn")
    logits = predict_logits(model, images, Engine(torch.device("cpu"), "fp32"))
    assert np.allclose(logits.numpy(), show(model, tokens.tolist()), atol=1e-6)
