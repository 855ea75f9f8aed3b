"""What models take in: images, feature vectors or token ids, and the shape of one of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from kdopt.shown import format_count

InputKind = Literal["images", "vectors", "tokens"]


class TokenShape(NamedTuple):
    """A sequence of token ids.

    Attributes:
        length: Ids in a sequence; short ones are filled up.
        vocabulary: Ids are whole numbers from 0 to one less than this.
        padding: The id that fills up.
    """

    length: int
    vocabulary: int
    padding: int


Shape = tuple[int, ...]
"""Of an image (channels, height, width), of a vector (numbers,), or a :class:`TokenShape`."""

MODELS_OF: Mapping[InputKind, tuple[str, ...]] = {
    "images": ("cnn", "mlp", "resnet18"),
    "vectors": ("mlp",),
    "tokens": ("embedding_bag", "text_cnn"),
}
"""Kdopt's own models that can take each kind."""


def get_kind(shape: Shape) -> InputKind:
    """Of which kind something of a shape is."""
    if isinstance(shape, TokenShape):
        return "tokens"
    return "vectors" if len(shape) == 1 else "images"


def describe_shape(shape: Shape) -> str:
    """A shape in words.

    >>> describe_shape((1, 28, 28)), describe_shape((64,)), describe_shape(TokenShape(32, 900, 0))
    ('images of 1x28x28', 'vectors of 64 numbers', 'sequences of 32 token ids below 900')
    """
    if isinstance(shape, TokenShape):
        return f"sequences of {format_count(shape.length, 'token id')} below {shape.vocabulary}"
    if get_kind(shape) == "vectors":
        return f"vectors of {format_count(shape[0], 'number')}"
    return f"images of {'x'.join(map(str, shape))}"


def describe_array(shape: Shape) -> str:
    """The array that ``n`` inputs of a shape are, in words.

    >>> describe_array((1, 28, 28)), describe_array((64,))
    ('uint8 (n, 1, 28, 28), 0 to 255', 'float32 (n, 64), as they are before they are normalised')
    >>> describe_array(TokenShape(32, 900, 0))
    'int64 (n, 32), ids below 900, short sequences filled up with 0'
    """
    if isinstance(shape, TokenShape):
        return (
            f"int64 (n, {shape.length}), ids below {shape.vocabulary}, short sequences filled up "
            f"with {shape.padding}"
        )
    inner = ", ".join(map(str, shape))
    if get_kind(shape) == "vectors":
        return f"float32 (n, {inner}), as they are before they are normalised"
    return f"uint8 (n, {inner}), 0 to 255"


def find_misfit(model: str, shape: Shape) -> str | None:
    """Why a model that kdopt knows by name cannot take inputs of a shape; ``None`` if it can."""
    kind = get_kind(shape)
    takes = [k for k, names in MODELS_OF.items() if model in names]
    if not takes or kind in takes:
        return None
    return (
        f"model '{model}': it takes {' and '.join(takes)}, and the data are "
        f"{describe_shape(shape)}; set model to {' or '.join(MODELS_OF[kind])}"
    )
