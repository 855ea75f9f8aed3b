"""Models for token ids against plain NumPy, and what padding may not do."""

import numpy as np
import pytest
import torch

from kdopt.campaign.participants import Architecture
from kdopt.campaign.shapes import TokenShape
from kdopt.errors import KdoptError
from kdopt.train.adapted import build_model
from kdopt.train.engine import Engine, Images
from kdopt.train.evaluation import predict_logits
from kdopt.train.models import make_model

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
