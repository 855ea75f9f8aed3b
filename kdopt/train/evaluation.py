"""A model as it is evaluated: the same logits bit for bit, in less time, and without gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def for_evaluation(model: nn.Module) -> nn.Module:
    """The model, with every convolution, batch norm and pooling by 2 in a row made one layer.

    Only a plain ``nn.Sequential``, such as ``cnn``, has such rows here; any other model is given
    back as it is. Layers are shared or copied from the present weights: make it anew after a
    change of weights, which costs next to nothing.

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
                conv.bias is None and norm.affine and norm.track_running_stats and _halves(pool)
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
        # In the model's own order of weights in memory, on which the convolution's way depends.
        self._filters = conv.weight.detach().clone().mul_(sign.view(-1, 1, 1, 1))
        self._mean = norm.running_mean * sign
        self._slope = norm.weight.detach().abs()
        self._conv = conv
        self._norm = norm

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to half the height and width."""
        norm = self._norm
        features = halved(self._conv._conv_forward(images, self._filters, None))
        return functional.batch_norm(
            features, self._mean, norm.running_var, self._slope, norm.bias, eps=norm.eps
        )


def halved(images: Tensor) -> Tensor:
    """``max_pool2d(images, 2)`` without the positions of the maxima, which gradients alone need.

    On a CPU in half its time.

    Args:
        images: (batch, channels, height, width).
    """
    height, width = (side // 2 * 2 for side in images.shape[2:])
    columns = torch.maximum(images[..., 0:width:2], images[..., 1:width:2])
    return torch.maximum(columns[:, :, 0:height:2], columns[:, :, 1:height:2])


def _halves(pool: nn.MaxPool2d) -> bool:
    settings = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return settings == (2, 2, 0, 1) and not pool.ceil_mode and not pool.return_indices
