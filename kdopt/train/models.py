"""Models by name, with input channels and classes fitted to the data, randomly initialised.

``cnn`` and ``mlp`` are small nets for small images; ``mlp`` takes feature vectors too, and
``embedding_bag`` and ``text_cnn`` take token ids. ``resnet18`` is the paper's model with the
stem for 32x32 images (3x3, no pooling). Any classifier of torchvision goes by its name there, with
or without ``torchvision:``, one of timm as ``timm:NAME``, and one of a plugin by its name.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import math
import re
from types import ModuleType

import torch
from torch import Tensor, nn

from kdopt.campaign.participants import split_model_name
from kdopt.campaign.settings import OWN_MODELS
from kdopt.campaign.shapes import (
    MODELS_OF,
    Shape,
    TokenShape,
    describe_shape,
    find_misfit,
    get_kind,
)
from kdopt.errors import KdoptError
from kdopt.plugins.code import get_code
from kdopt.train.engine import Engine, seeded


def make_model(name: str, shape: Shape, n_classes: int) -> nn.Module:
    """Build a model; its weights come from torch's global generator (see ``engine.seeded``).

    Raises:
        KdoptError: There is no such model, or it cannot take inputs of that shape.
    """
    if (misfit := find_misfit(name, shape)) is not None:
        raise KdoptError(misfit)
    if isinstance(shape, TokenShape) and name in MODELS_OF["tokens"]:
        model: nn.Module = make_token_model(name, shape, n_classes)
    elif name == "cnn":
        model = _make_cnn(shape, n_classes)
    elif name == "mlp":
        model = _make_mlp(shape, n_classes)
    elif name == "resnet18":
        model = _make_resnet18(shape, n_classes)
    else:
        model = _make_foreign_model(name, shape, n_classes)
    _check_shape(name, model, shape, n_classes)
    return model


class ModelPair(nn.Module):
    """Two models that see the same images and train at once.

    Args:
        student: The first.
        peer: The second.
    """

    def __init__(self, student: nn.Module, peer: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.peer = peer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of both, (2, batch, classes)."""
        return torch.stack([self.student(images), self.peer(images)])


def draws_random_numbers(model: nn.Module, shape: Shape, engine: Engine) -> bool:
    """Whether a model draws random numbers while it trains, as dropout does.

    Args:
        model: On the engine's device; batch norm's statistics move.
        shape: Of an image.
        engine: Device and precision.
    """
    images = make_example(shape).to(engine.device)
    if get_kind(shape) == "images":
        images = images.to(memory_format=torch.channels_last)
    with seeded(0, engine.device), torch.no_grad(), engine.autocast():
        before = _read_random_state(engine.device)
        model.train()(images)
        return not torch.equal(before, _read_random_state(engine.device))


def make_example(shape: Shape) -> torch.Tensor:
    """Two inputs of a shape, all zeros: what models take, without any data."""
    if isinstance(shape, TokenShape):
        return torch.zeros(2, shape.length, dtype=torch.int64)
    return torch.zeros(2, *shape)


def _read_random_state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def list_models() -> list[str]:
    """Every name that :func:`make_model` takes."""
    import torchvision  # here and below only: slow to import, and cnn and mlp need none of it

    return [*OWN_MODELS, *torchvision.models.list_models(module=torchvision.models)]


def _make_block(inputs: int, outputs: int, halve: bool) -> list[nn.Module]:
    # ReLU after pooling gives the same values and gradients bit for bit as before it (the maximum
    # of a window and the ramp commute) on a quarter of the numbers: a twentieth of a step's time.
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        *([nn.MaxPool2d(2)] if halve else []),
        nn.ReLU(inplace=True),
    ]


def _make_cnn(shape: Shape, n_classes: int) -> nn.Module:
    """Three convolutions with batch norm, each halving the image where it can be halved."""
    layers: list[nn.Module] = []
    channels, side = shape[0], min(shape[1:])
    for width in (16, 32, 64):
        halve = side >= 4
        layers += _make_block(channels, width, halve)
        side //= 2 if halve else 1
        channels = width
    layers += [_Mean(), nn.Identity(), nn.Linear(channels, n_classes)]
    return nn.Sequential(*layers)


class _Mean(nn.Module):
    """``AdaptiveAvgPool2d(1)`` and ``Flatten`` in one: same bits, fewer small operations.

    An ``Identity`` stands where ``Flatten`` stood, so that weights keep their names.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) to (batch, channels)."""
        return images.mean((2, 3))


def _make_mlp(shape: Shape, n_classes: int) -> nn.Module:
    """Two hidden layers of 128 units."""
    inputs = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, n_classes),
    )


def _make_resnet18(shape: Shape, n_classes: int) -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.resnet18(weights=None, num_classes=n_classes)
    model.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def _make_foreign_model(name: str, shape: Shape, n_classes: int) -> nn.Module:
    """A model of a library or a plugin; whatever goes wrong within it is one message."""
    library, own_name = split_model_name(name)
    code = get_code("model", name)
    try:
        if library == "timm":
            return make_timm_model(own_name, _check_images(name, shape), n_classes)
        if code is None:
            return _make_torchvision_model(name, shape, n_classes)
        model = code.function(shape, n_classes)
    except KdoptError:
        raise
    except Exception as error:
        raise _make_error(name, shape, error) from error
    if not isinstance(model, nn.Module):
        raise KdoptError(
            f"model '{name}': its plugin built a {type(model).__name__}; it must be a nn.Module"
        )
    return model


def _check_images(name: str, shape: Shape) -> Shape:
    """The shape, if it is an image's, as a library's model needs it."""
    if (kind := get_kind(shape)) != "images":
        raise KdoptError(
            f"model '{name}': it takes images, and the data are {describe_shape(shape)}; set model "
            f"to {' or '.join(MODELS_OF[kind])}"
        )
    return shape


def _make_torchvision_model(name: str, shape: Shape, n_classes: int) -> nn.Module:
    import torchvision

    known, own_name = list_models(), split_model_name(name)[1]
    if own_name != name:
        known = torchvision.models.list_models(module=torchvision.models)
    if own_name not in known:
        close = difflib.get_close_matches(own_name, known, n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise KdoptError(
            f"model '{name}': there is no such model; {hint}"
            f"use {', '.join(OWN_MODELS)}, a classifier of torchvision.models, timm:NAME, or a "
            "model of an installed package or of a file that you give with --plugin"
        )
    _check_images(name, shape)
    builder = torchvision.models.get_model_builder(own_name)
    accepted = inspect.signature(builder).parameters
    options: dict[str, object] = {"weights": None, "num_classes": n_classes}
    # Heads and position embeddings that depend on the image, and auxiliary heads that would make
    # the model return more than logits.
    if own_name.startswith("vit_"):
        options["image_size"] = shape[1]
    if own_name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if "weights_backbone" in accepted:
        options["weights_backbone"] = None
    model: nn.Module = builder(**options)
    return _match_channels(model, shape[0])


def _match_channels(model: nn.Module, channels: int) -> nn.Module:
    """Replace the first convolution when it takes another number of channels."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != channels:
                parent = model.get_submodule(name.rpartition(".")[0])
                replacement = nn.Conv2d(
                    channels,
                    module.out_channels,
                    module.kernel_size,  # type: ignore[arg-type]
                    module.stride,  # type: ignore[arg-type]
                    module.padding,  # type: ignore[arg-type]
                    bias=module.bias is not None,
                )
                setattr(parent, name.rpartition(".")[2], replacement)
            break
    return model


def _check_shape(name: str, model: nn.Module, shape: Shape, n_classes: int) -> None:
    """Run one pair of images through, so that a misfit is one clear message at the start."""
    state = {k: v.clone() for k, v in itertools.chain(model.named_buffers())}
    training = model.training
    model.train()
    try:
        with torch.no_grad():
            logits = model(make_example(shape))
    except Exception as error:  # a model of others may raise anything
        raise _make_error(name, shape, error) from error
    model.train(training)
    # The forward pass moved batch norm's running statistics; put them back.
    for key, buffer in model.named_buffers():
        buffer.copy_(state[key])
    found = tuple(getattr(logits, "shape", ()))
    if found != (2, n_classes):
        raise _make_error(
            name, shape, ValueError(f"it returns {found}, not (2, {n_classes}) logits")
        )


def _make_error(name: str, shape: Shape, error: Exception) -> KdoptError:
    reason = " ".join(str(error).split())[:200]
    return KdoptError(
        f"model '{name}': it cannot classify {describe_shape(shape)}: {reason}; "
        f"choose another model, such as {', '.join(MODELS_OF[get_kind(shape)])}"
    )


EMBEDDING_WIDTH = 64
FILTER_WIDTHS = (2, 3, 4)
FILTERS = 64


class EmbeddingBag(nn.Module):
    """The mean of the tokens' embeddings, then one linear layer: the order of words is lost.

    Source: A. Joulin et al., Bag of Tricks for Efficient Text Classification, arXiv:1607.01759.

    Args:
        shape: Of the sequences.
        n_classes: Number of classes.
    """

    def __init__(self, shape: TokenShape, n_classes: int) -> None:
        super().__init__()
        self._padding = shape.padding
        self.embedding = nn.Embedding(shape.vocabulary, EMBEDDING_WIDTH)
        self.head = nn.Linear(EMBEDDING_WIDTH, n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids, (batch, length), to logits, (batch, classes); padding counts for nothing."""
        there = (tokens != self._padding).unsqueeze(2)
        summed = (self.embedding(tokens) * there).sum(dim=1)
        logits: Tensor = self.head(summed / there.sum(dim=1).clamp(min=1))
        return logits


class TextCnn(nn.Module):
    """Convolutions over two, three and four embeddings in a row, and the greatest value of each.

    Source: Y. Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014; without
    its dropout, so that trials of a pair may run at once.

    Args:
        shape: Of the sequences.
        n_classes: Number of classes.
    """

    def __init__(self, shape: TokenShape, n_classes: int) -> None:
        super().__init__()
        self._padding = shape.padding
        self.embedding = nn.Embedding(shape.vocabulary, EMBEDDING_WIDTH)
        self.filters = nn.ModuleList(
            nn.Conv1d(EMBEDDING_WIDTH, FILTERS, width, padding=width - 1) for width in FILTER_WIDTHS
        )
        self.head = nn.Linear(FILTERS * len(FILTER_WIDTHS), n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids, (batch, length), to logits, (batch, classes); padding is a word of zeros."""
        there = (tokens != self._padding).unsqueeze(2)
        embedded = (self.embedding(tokens) * there).transpose(1, 2)
        found = [torch.relu(layer(embedded)).amax(dim=2) for layer in self.filters]
        logits: Tensor = self.head(torch.cat(found, dim=1))
        return logits


def make_token_model(name: str, shape: TokenShape, n_classes: int) -> nn.Module:
    """``embedding_bag`` or ``text_cnn``; its weights come from torch's global generator."""
    return EmbeddingBag(shape, n_classes) if name == "embedding_bag" else TextCnn(shape, n_classes)


_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


def make_timm_model(name: str, shape: Shape, n_classes: int) -> nn.Module:
    """Build a model of timm; its weights come from torch's global generator.

    Only names of timm's own registry are taken: timm itself would also follow ``hf-hub:`` and
    ``local-dir:`` to other places. Nothing is downloaded.

    Raises:
        KdoptError: timm is not installed, or has no such model.
    """
    timm = _import_timm(name)
    if not _NAME.match(name) or not timm.is_model(name):
        raise KdoptError(_explain_unknown(timm, name))
    options: dict[str, object] = {"num_classes": n_classes, "in_chans": shape[0]}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        # Of models whose embeddings or windows depend on the image; others do not take it.
        options["img_size"] = shape[1:]
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _import_timm(name: str) -> ModuleType:
    try:
        import timm  # slow to import, and an extra
    except ImportError as error:
        raise KdoptError(
            f"model 'timm:{name}': timm is not installed ({error.name} is missing); "
            "pip install 'kdopt[timm]'"
        ) from error
    found: ModuleType = timm
    return found


def _explain_unknown(timm: ModuleType, name: str) -> str:
    stem, dot, tag = name.partition(".")
    if dot and _NAME.match(stem) and timm.is_model(stem):
        return (
            f"model 'timm:{name}': '{tag}' names weights, and kdopt downloads none; write "
            f"timm:{stem}, and give weights by 'weights' of a [[participant]]"
        )
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"model 'timm:{name}': timm {timm.__version__} has no such model; {hint}see its list"
