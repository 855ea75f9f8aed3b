import dataclasses

import pytest
import torch

from kdopt.campaign.data_settings import TRANSFORMS, parse_transform
from kdopt.campaign.settings import TrainSettings
from kdopt.errors import KdoptError
from kdopt.train.augment import crop_and_flip, draw_view, make_views
from kdopt.train.engine import Images, make_engine
from kdopt.train.fit import fit

ENGINE = make_engine("fp32", "cpu")


def images(n=6, side=16, seed=0):
    pixels = torch.randint(
        1, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Images(pixels, torch.arange(n) % 3, (0.5,) * 3, (0.25,) * 3)


def test_the_first_view_is_the_image_and_every_view_has_its_label():
    plain = images()
    made = make_views(plain, ["crop_flip"], 4, seed=1)
    assert (len(made), made.views, made.positions) == (6, 4, 24)
    assert torch.equal(made.pixels[:6], plain.pixels)
    assert torch.equal(made.labels, plain.labels.repeat(4))
    assert all(not torch.equal(made.pixels[6 * v : 6 * v + 6], plain.pixels) for v in (1, 2, 3))


def test_views_are_a_function_of_images_and_seed():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = make_views(images(), ["crop_flip", "ColorJitter(brightness=0.5)"], 3, seed=1)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        again = make_views(images(), ["crop_flip", "ColorJitter(brightness=0.5)"], 3, seed=1)
    assert torch.equal(first.pixels, again.pixels)
    other = make_views(images(), ["crop_flip", "ColorJitter(brightness=0.5)"], 3, seed=2)
    assert not torch.equal(first.pixels, other.pixels)


def test_crop_flip_shifts_by_an_eighth_at_most_and_mirrors_half():
    n, side = 400, 16
    # Pixel (row, column) says where it is; 0 is what comes in at the border.
    rows = torch.arange(1, side + 1, dtype=torch.uint8)
    pixels = torch.stack([rows[:, None].expand(side, side), rows.expand(side, side)])
    found = crop_and_flip(pixels.expand(n, 2, side, side)).int()
    assert found.shape == (n, 2, side, side)
    middle = side // 2
    down = found[:, 0, middle, middle] - (middle + 1)
    column = found[:, 1, middle, middle]
    mirrored = found[:, 1, middle, middle + 1] < column
    right = torch.where(mirrored, column - (side - middle), column - (middle + 1))
    assert set(down.tolist()) == set(right.tolist()) == {-2, -1, 0, 1, 2}
    assert 0.4 < mirrored.float().mean() < 0.6
    # Shifted whole: each row has one number beside what comes in, and rows follow each other.
    shown = found[:, 0]
    assert ((shown == shown.amax(dim=2, keepdim=True)) | (shown == 0)).all()
    inside = found[:, 0, 3:-3, middle]
    assert (inside.diff(dim=1) == 1).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_known_transform_makes_views_of_bytes(name):
    options = {
        "RandomCrop": "size=16, padding=2",
        "RandomResizedCrop": "size=16",
        "RandomRotation": "degrees=20",
        "RandomAffine": "degrees=10",
        "GaussianBlur": "kernel_size=3",
        "ElasticTransform": "sigma=1",
        "RandomPosterize": "bits=3, p=1",
        "RandomSolarize": "threshold=90, p=1",
        "RandomAdjustSharpness": "sharpness_factor=2, p=1",
        "ColorJitter": "hue=0.2",
    }.get(name, "")
    found = draw_view(images().pixels, [f"{name}({options})"])
    assert found.shape == (6, 3, 16, 16) and found.dtype == torch.uint8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RandomCrop(size=8)", "makes images of 3x16x16 uint8 into 3x8x8 uint8"),
        ("RandomRotation(angle=3)", "RandomRotation"),
        ("RandomPosterize(bits='many')", "RandomPosterize"),
    ],
)
def test_what_does_not_take_these_images_or_options_is_named(text, said):
    with pytest.raises(KdoptError, match=r"data\.augment: ") as caught:
        draw_view(images().pixels, [text])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "os.system('x')", "__import__('os')", "crop_flip(p=1)", "Lambda(f=print)", "RandomCrop(8)",
     "RandomCrop(size=open('x'))", "RandomCrop(**{})", "Random Crop", "crop_flip; x", "(" * 999,
     "RandomCrop(size=" + "[" * 300 + "]" * 300 + ")"],
)  # fmt: skip
def test_a_name_and_plain_values_are_all_that_a_file_can_say(text):
    with pytest.raises(ValueError, match="crop_flip"):
        parse_transform(text)


def test_epochs_take_the_views_in_turn():
    made = make_views(images(), ["crop_flip"], 3, seed=1)
    seen = []

    def loss(index, logits):
        seen.append(sorted(index.tolist()))
        return logits.square().mean()

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3))
    settings = TrainSettings(epochs=4, patience=0, batch_size=6)
    generator = torch.Generator().manual_seed(0)
    fit(model, made, loss, settings, ENGINE, generator, monitor=lambda _: 0.0)
    assert seen == [list(range(6 * v, 6 * v + 6)) for v in (0, 1, 2, 0)]
    seen.clear()
    one = dataclasses.replace(settings, epochs=1)
    fit(model, made, loss, one, ENGINE, generator, monitor=lambda _: 0.0, first_epoch=3)
    assert seen == [list(range(12, 18))]
