"""Adam and SGD: torch's fused kernels, called directly.

The optimizers of ``torch.optim`` call the same kernels with the same result bit for bit, but the
first of them that a process makes imports torch's compiler (about 2 s and 160 MiB that nothing here
needs), and each of their steps costs twice as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import nn


class Optimizer(Protocol):
    """What changes parameters by their gradients."""

    def zero_grad(self) -> None:
        """Forget all gradients."""
        ...

    def step(self) -> object:
        """Change every parameter that has a gradient."""
        ...

    def reset(self) -> None:
        """Start anew, in the same memory."""
        ...


class _Fused:
    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def reset(self) -> None:
        """Start anew, in the same memory: a recorded step reads and writes it."""
        self.zero_grad()


class Adam(_Fused):
    """Adam with L2 penalty, betas 0.9 and 0.999, epsilon 1e-8 (Kingma and Ba 2015, Algorithm 1).

    Args:
        parameters: On one device, of one floating point type.
        learning_rate: Step size, > 0.
        weight_decay: Added to the gradient, times the parameter; >= 0.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay)
        # In each parameter's own memory format: the kernel walks all of them side by side.
        self._first = [torch.zeros_like(p) for p in self.parameters]
        self._second = [torch.zeros_like(p) for p in self.parameters]
        # The kernel wants a count per parameter; as parts of one tensor they are raised at once.
        device = self.parameters[0].device if self.parameters else None
        self._counts = torch.zeros(len(self.parameters), device=device)
        self._steps = list(self._counts.unbind())

    def reset(self) -> None:
        """Forget gradients, moments and counts, in the same memory."""
        super().reset()
        if self.parameters:
            torch._foreach_zero_([*self._first, *self._second, self._counts])

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient; the others' moments stay as they are."""
        columns = zip(self.parameters, self._first, self._second, self._steps, strict=True)
        used = [(p, p.grad, *rest) for p, *rest in columns if p.grad is not None]
        if not used:
            return
        parameters, gradients, first, second, steps = map(list, zip(*used, strict=True))
        if len(used) == len(self.parameters):
            self._counts += 1
        else:
            torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            lr=self.learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class Sgd(_Fused):
    """Stochastic gradient descent with L2 penalty and without momentum.

    Args:
        parameters: On one device, of one floating point type.
        learning_rate: Step size, > 0.
        weight_decay: Added to the gradient, times the parameter; >= 0.
    """

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        used = [(p, p.grad) for p in self.parameters if p.grad is not None]
        if not used:
            return
        parameters, gradients = map(list, zip(*used, strict=True))
        torch._fused_sgd_(
            parameters,
            gradients,
            [],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=0.0,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )
