"""Images in the formats of Fashion-MNIST and CIFAR-10, drawn here: a machine without data will do.

A class is a random pattern; an image is its class's pattern, weakened, and noise. What a step or an
evaluation costs does not depend on what the images show.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SHAPES = {"fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
CLASSES = 10


def write_images(folder: Path, name: str, train: int, test: int) -> Path:
    """Write a data set that ``data.root`` and ``data.checksum = "none"`` read; its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    patterns = np.random.default_rng(0).integers(0, 256, (CLASSES, *SHAPES[name]))
    parts = {
        part: _draw(np.random.default_rng(seed), patterns, count)
        for seed, (part, count) in enumerate((("train", train), ("test", test)), 1)
    }
    if name == "fashion_mnist":
        for part, prefix in (("train", "train"), ("test", "t10k")):
            pixels, labels = parts[part]
            _write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels[:, 0])
            _write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
        return folder
    pixels, labels = parts["train"]
    for number, rows in enumerate(np.array_split(np.arange(len(labels)), 5), 1):
        _write_records(folder / f"data_batch_{number}.bin", pixels[rows], labels[rows])
    _write_records(folder / "test_batch.bin", *parts["test"])
    return folder


def _draw(
    generator: np.random.Generator, patterns: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    labels = generator.integers(0, CLASSES, count).astype(np.uint8)
    noise = generator.normal(128, 60, (count, *patterns.shape[1:])).astype(np.float32)
    pixels = 0.15 * (patterns[labels] - 128) + noise
    return pixels.clip(0, 255).astype(np.uint8), labels


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(header + values.tobytes())


def _write_records(path: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    rows = np.concatenate([labels[:, None], pixels.reshape(len(labels), -1)], axis=1)
    path.write_bytes(rows.astype(np.uint8).tobytes())
