import pytest
import torch
from torch import nn

from kdopt.campaign.participants import ABSENT, Architecture
from kdopt.errors import KdoptError
from kdopt.train.adapted import AdaptedModel, build_model

CLASSES = ("a", "b", "c", "d")
GREY = ((0.4,), (0.2,))


class Seen(nn.Module):
    """Keeps what it is shown, and gives one logit per output: its number."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.images = outputs, None

    def forward(self, images):
        self.images = images
        return torch.arange(self.outputs).float().expand(len(images), -1).clone()


def build(**own):
    kind = Architecture("cnn", **own)
    return build_model(kind, (1, 8, 8), CLASSES, *GREY)


def test_a_model_with_nothing_of_its_own_is_the_plain_model():
    assert not isinstance(build(), AdaptedModel)


def test_its_images_have_its_own_size_colours_and_normalisation():
    model = build(image_size=16, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    model.model = Seen(4)
    pixels = torch.rand(2, 1, 8, 8)
    model((pixels - 0.4) / 0.2)
    shown = model.model.images
    assert shown.shape == (2, 3, 16, 16)
    back = shown * torch.tensor([0.5, 1.0, 2.0]).view(1, 3, 1, 1)
    back = back + torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    larger = nn.functional.interpolate(pixels, (16, 16), mode="bilinear")
    torch.testing.assert_close(back, larger.expand(-1, 3, -1, -1))


def test_without_a_normalisation_of_its_own_it_sees_the_campaigns():
    model = build(classes=CLASSES)
    model.model = Seen(4)
    images = torch.rand(2, 1, 8, 8)
    model(images)
    assert torch.equal(model.model.images, images)


def test_outputs_go_to_the_classes_that_they_are_called():
    model = build(classes=("c", "a", "d", "b"))
    model.model = Seen(4)
    assert model(torch.zeros(1, 1, 8, 8)).tolist() == [[1.0, 3.0, 0.0, 2.0]]


def test_classes_that_it_lacks_get_no_probability_and_no_gradient_trouble():
    model = build(classes=("c", "a"))
    logits = model(torch.rand(3, 1, 8, 8))
    chances = logits.softmax(dim=1)
    assert chances[:, [1, 3]].max() < 1e-12
    assert (logits[:, 1] == logits[:, [0, 2]].amin(dim=1) + ABSENT).all()
    nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"classes": ("a", "z")}, "'z'"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5)}, "2 values of mean"),
        ({"channels": 3, "mean": (0.5,), "std": (0.5,)}, "for 3 channels"),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(own, said):
    with pytest.raises(KdoptError, match=r"model 'cnn': ") as caught:
        build(**own)
    assert said in str(caught.value)


def test_colours_are_not_made_grey():
    with pytest.raises(KdoptError, match="channels = 1, and the images have 3"):
        build_model(Architecture("cnn", channels=1), (3, 8, 8), CLASSES, (0.5,) * 3, (0.5,) * 3)
