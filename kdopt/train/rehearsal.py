"""Try a model, a transform or a method on one batch before anything is planned with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import safetensors.torch
import torch
from numpy.typing import NDArray
from torch.nn import functional

from kdopt.campaign.participants import Architecture
from kdopt.campaign.plugin_methods import PluginMethod
from kdopt.campaign.shapes import Shape, get_kind
from kdopt.errors import KdoptError
from kdopt.train.adapted import build_model
from kdopt.train.augment import draw_view
from kdopt.train.engine import Engine, seeded
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.registry import find_method
from kdopt.train.models import make_example
from kdopt.train.weights import parse_weights

FIX = "choose another model"


def rehearse_model(
    kind: Architecture,
    shape: Shape,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """Build a model, train it for a step, save its weights and load them again.

    Whatever is wrong with a model shows itself here, rather than in every trial.

    Args:
        kind: What it is.
        shape: Of the campaign's images.
        class_names: Of the campaign.
        mean: How the images are normalised, per channel.
        std: Likewise.

    Raises:
        KdoptError: There is no such model, it cannot take images of that shape, or it cannot be
            trained or loaded again.
    """
    name = kind.model
    engine = Engine(torch.device("cpu"), "fp32")
    with seeded(0, engine.device):
        model = build_model(kind, shape, class_names, mean, std)
        images, labels = make_example(shape), torch.arange(2) % len(class_names)
        if get_kind(shape) != "tokens":
            images = torch.randn(2, *shape)
        try:
            optimizer = engine.make_optimizer("adam", model, 1e-3, 0.0)
            logits = model.train()(images)
            functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        except Exception as error:
            raise _make_error(name, "cannot be trained", error) from error
    if not bool(logits.isfinite().all()):
        raise KdoptError(f"model '{name}': with random weights its logits are not finite; {FIX}")
    del optimizer
    model.zero_grad()
    try:
        state = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
        content = safetensors.torch.save(state)
        model.load_state_dict(parse_weights(content, model.state_dict()))
    except Exception as error:
        raise _make_error(name, "cannot load its own weights again", error) from error


def rehearse_augmentation(augment: Sequence[str], images: NDArray[Any]) -> None:
    """Draw a view of two images.

    Args:
        augment: What is done to each.
        images: Of the campaign, (n, channels, height, width).

    Raises:
        KdoptError: See :func:`kdopt.train.augment.draw_view`.
    """
    draw_view(torch.from_numpy(images[:2]), augment)


def rehearse_method(method: PluginMethod, n_classes: int) -> None:
    """Compute a plugin's loss and its gradient once at each end of its search space.

    Args:
        method: One that is in use here.
        n_classes: Of the campaign.

    Raises:
        KdoptError: It fails, or gives no finite number that depends on the student's logits.
    """
    found = find_method(method.name, "student")
    shape = (4, n_classes)
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(shape, generator=generator) for _ in range(2))
    labels = torch.arange(4) % n_classes
    inputs = MethodInputs(labels, teacher, student, public=False)
    ends = [{p.name: p.published for p in method.params}]
    ends += [{p.name: end(p.values) for p in method.params} for end in (min, max)]
    for values in ends:
        where = ", ".join(f"{name}={value:g}" for name, value in values.items())
        logits = torch.randn((2, *shape) if found.trains_both else shape, generator=generator)
        logits.requires_grad_()
        try:
            loss = found.loss(inputs, **values)(torch.arange(4), logits)
            loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise KdoptError(
                f"method '{method.name}': at {where} its loss fails: {reason}; correct the plugin"
            ) from error
        finite = loss.ndim == 0 and bool(loss.isfinite())
        if not finite or logits.grad is None or not bool(logits.grad.isfinite().all()):
            raise KdoptError(
                f"method '{method.name}': at {where} its loss or the gradient is not finite, or "
                "does not depend on the student; correct the plugin, or change its values"
            )


def _make_error(name: str, fault: str, error: Exception) -> KdoptError:
    reason = " ".join(str(error).split())[:200]
    return KdoptError(f"model '{name}': it {fault}: {reason}; {FIX}")
