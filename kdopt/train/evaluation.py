"""How a model is evaluated: its logits, its scores, and what it gained and lost.

Accuracies are fractions in [0, 1]; gains, learning and forgetting are percentage points. For the
logits of a small net some of its layers are fused: the same bits in less time.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.outcome import Scores
from kdopt.shown import format_count
from kdopt.train.engine import Engine, Images
from kdopt.train.fit import ADVICE, DivergedError, Fit
from kdopt.train.student_line import StudentLine


class Evaluation(NamedTuple):
    """The kept model on both sets, and how its training went."""

    fit: Fit
    validation: Scores
    test: Scores
    last_validation_accuracy: float
    last_test_accuracy: float
    line: StudentLine | None = None


# Not inference_mode: autograd takes none of its tensors, and teachers' logits go into losses.
@torch.no_grad()
def predict_logits(model: nn.Module, images: Images, engine: Engine) -> Tensor:
    """Logits of every image and view in evaluation mode: float32, (positions, classes).

    Raises:
        DivergedError: Some are not finite: the largest of such logits is no answer.
    """
    shown = fuse_layers(model.eval())
    parts = []
    size = engine.choose_evaluation_batch(images.numbers_each)
    for start in range(0, images.positions, size):
        with engine.autocast():
            logits = shown(images.batch(slice(start, start + size)))
        parts.append(logits.float())
    found = torch.cat(parts)
    broken = len(found) - int(torch.isfinite(found).all(dim=1).sum())
    if broken:
        raise DivergedError(
            f"the model's logits are not finite on {broken:,} of "
            f"{format_count(len(found), 'image')}; {ADVICE}"
        )
    return found


def score_logits(logits: Tensor, labels: Tensor, n_classes: int) -> Scores:
    """Accuracy, accuracy per class and mean cross-entropy of one model on one set.

    Args:
        logits: (n, classes).
        labels: (n,), class numbers below ``n_classes``.
        n_classes: Number of classes.
    """
    right = logits.argmax(dim=1) == labels
    # Counted as whole numbers: a GPU adds weights in any order.
    counts = torch.bincount(labels + n_classes * ~right, minlength=2 * n_classes).tolist()
    hits = counts[:n_classes]
    totals = [h + m for h, m in zip(hits, counts[n_classes:], strict=True)]
    per_class = tuple(h / t if t else None for h, t in zip(hits, totals, strict=True))
    # In float64, where the order of adding, which differs between devices, hardly shows.
    loss = functional.cross_entropy(logits.double(), labels)
    accuracy = sum(hits) / max(1, sum(totals))
    return Scores(accuracy, per_class, float(loss), len(labels), _pack_bits(right))


def _pack_bits(right: Tensor) -> str:
    return base64.b64encode(np.packbits(right.cpu().numpy()).tobytes()).decode()


def fuse_layers(model: nn.Module) -> nn.Module:
    """The model, with every row of convolution, batch norm and pooling by 2 as one layer.

    Only a plain ``nn.Sequential``, such as ``cnn``, has such rows here; any other model is returned
    as it is. Layers are shared or copied from the present weights: fuse again after a change of
    weights, which costs next to nothing.

    Args:
        model: In evaluation mode; it is left as it is.
    """
    if type(model) is not nn.Sequential:
        return model
    layers = list(model)
    made: list[nn.Module] = []
    while layers:
        match layers:
            case [nn.Conv2d() as conv, nn.BatchNorm2d() as norm, nn.MaxPool2d() as pool, *rest] if (
                conv.bias is None
                and norm.affine
                and norm.track_running_stats
                and _halves_sides(pool)
            ):
                made.append(_PooledBeforeNorm(conv, norm))
                layers = rest
            case _:
                made.append(layers.pop(0))
    return nn.Sequential(*made)


class _PooledBeforeNorm(nn.Module):
    """Convolution, pooling and batch norm on the quarter of the numbers that pooling leaves.

    With fixed statistics batch norm is a straight line per channel, so a rising one commutes with
    the maximum of a window, rounding included. A falling line is made a rising one by turning the
    signs of the channel's filter and mean, which changes no bit but the sign.

    Args:
        conv: The convolution, without a bias.
        norm: The batch norm after it.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0)
        # clone() keeps the order of the weights in memory, on which the choice of the
        # convolution's kernel, and so its last bits, depends.
        self._filters = conv.weight.detach().clone().mul_(sign.view(-1, 1, 1, 1))
        self._mean = norm.running_mean * sign
        self._slope = norm.weight.detach().abs()
        self._conv = conv
        self._norm = norm

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to half the height and width."""
        norm = self._norm
        features = pool_by_two(self._conv._conv_forward(images, self._filters, None))
        return functional.batch_norm(
            features, self._mean, norm.running_var, self._slope, norm.bias, eps=norm.eps
        )


def pool_by_two(images: Tensor) -> Tensor:
    """``max_pool2d(images, 2)`` without the positions of the maxima, which gradients alone need.

    On a CPU in half its time.

    Args:
        images: (batch, channels, height, width).
    """
    height, width = (side // 2 * 2 for side in images.shape[2:])
    columns = torch.maximum(images[..., 0:width:2], images[..., 1:width:2])
    return torch.maximum(columns[:, :, 0:height:2], columns[:, :, 1:height:2])


def _halves_sides(pool: nn.MaxPool2d) -> bool:
    settings = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return settings == (2, 2, 0, 1) and not pool.ceil_mode and not pool.return_indices
