from __future__ import annotations

import pytest
import torch
from torch import nn

from kdopt.errors import KdoptError
from kdopt.train.engine import seeded
from kdopt.train.models import make_model


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
