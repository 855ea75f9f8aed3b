"""Models of participants that each keep their own, where no global model stands for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

PlaceWeights = Callable[[int, Mapping[str, Tensor], int], nn.Module]
"""``place(participant, state, number)``: a model object of a participant's architecture with these
weights. Of each architecture there are objects 0 and 1; each is filled again on the next call."""


class Peers:
    """The weights of every participant's model, in few objects that they take turns in.

    Args:
        states: Weights by participant; they are copied.
        place: Puts weights into a model object.
        same_kind: Whether two participants have the same architecture.
    """

    def __init__(
        self,
        states: Iterable[Mapping[str, Tensor]],
        place: PlaceWeights,
        same_kind: Callable[[int, int], bool],
    ) -> None:
        self._states = [_copy_tensors(state) for state in states]
        self._place = place
        self.same_kind = same_kind

    @property
    def states(self) -> list[dict[str, Tensor]]:
        """The weights by participant."""
        return self._states

    def load(self, participant: int, number: int = 0) -> nn.Module:
        """A participant's model, in object 0 or 1 of its architecture."""
        return self._place(participant, self._states[participant], number)

    def keep(self, participant: int, model: nn.Module) -> None:
        """Take a model's present weights as the participant's."""
        self._states[participant] = _copy_tensors(model.state_dict())


def _copy_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in state.items()}
