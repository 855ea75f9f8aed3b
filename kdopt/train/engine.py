"""Where and how training computes: device, precision, memory format, threads. Decided here only."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

import kdopt
from kdopt.errors import KdoptError
from kdopt.shown import format_count
from kdopt.train.optimizers import Adam, Optimizer, Sgd
from kdopt.typed import DEVICES, parse_device

Precision = Literal["fp32", "bf16"]

KEPT_BYTES = 256 * 2**20
"""Freed memory that a process on a CPU keeps for its next batch."""


@dataclass(frozen=True)
class Engine:
    """A device and the precision that models run in.

    Attributes:
        device: Where models, images and logits live.
        precision: ``bf16`` runs the models under autocast; losses are float32 either way.
        deterministic: On CUDA: the same trial gives the same bits again on the same kind of GPU
            with the same versions. On a CPU it always does.
    """

    device: torch.device
    precision: Precision
    deterministic: bool = True

    def choose_evaluation_batch(self, pixels: int) -> int:
        """Images per forward pass where no gradient is needed.

        On a CPU few enough for their activations to stay in its caches (64 to 250 are alike, 500
        take 1.6 times as long); on CUDA enough to fill the device, and few enough for its memory.
        An image's logits depend on it in their last bits at most, where a last batch of few images
        takes another matrix kernel.

        Args:
            pixels: Numbers in an image, over all channels.
        """
        return 128 if self.device.type == "cpu" else max(1000, min(5000, 2**24 // pixels))

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which models run."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def move(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, in the memory format that convolutions run fastest in."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def make_optimizer(
        self,
        name: Literal["adam", "sgd"],
        model: nn.Module,
        learning_rate: float,
        weight_decay: float,
    ) -> Optimizer:
        """Adam, or SGD without momentum, over all parameters of a model, in one fused step."""
        make = Adam if name == "adam" else Sgd
        return make(model.parameters(), learning_rate, weight_decay)

    def list_versions(self) -> dict[str, str]:
        """What a result depends on besides the spec and the seed."""
        found = {
            "kdopt": kdopt.__version__,
            "torch": torch.__version__,
            "numpy": _read_version("numpy"),
            "optuna": _read_version("optuna"),
            "python": platform.python_version(),
        }
        if self.device.type == "cuda":
            found |= {
                "cuda": str(torch.version.cuda),
                "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
                "gpu": torch.cuda.get_device_name(self.device),
                "deterministic": "yes" if self.deterministic else "no",
            }
        else:
            found["cpu"] = _describe_cpu()
        return found


def make_engine(
    precision: Literal["auto", "fp32", "bf16"],
    device: str | None = None,
    threads: int = 1,
    deterministic: bool = True,
) -> Engine:
    """Choose the device and resolve ``auto``.

    ``auto`` is bf16 where the device multiplies bfloat16 matrices natively, and fp32 elsewhere:
    a CPU without those instructions emulates them many times slower than float32.

    Args:
        precision: The campaign's setting.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...; ``None`` takes CUDA when there is any.
        threads: CPU threads of this process. One per worker, one worker per core, gets the most
            out of a machine at batch size 32, and keeps results independent of the core count.
        deterministic: On CUDA, use operations only that give the same bits again, where torch has
            them; torch warns of every other one that a model uses.

    Raises:
        KdoptError: The device is not there.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    if name.startswith("cuda"):
        _make_cuda_deterministic(deterministic)
    chosen = find_device(name)
    torch.set_num_threads(threads)
    # NumPy's own threads too: what a warm campaign learns must not depend on how many there are.
    threadpool_limits(threads, user_api="blas")
    if chosen.type == "cpu":
        _keep_freed_memory()
    resolved: Precision = (
        ("bf16" if _has_native_bf16(chosen) else "fp32") if precision == "auto" else precision
    )
    return Engine(chosen, resolved, deterministic)


@contextlib.contextmanager
def keep_process_settings() -> Iterator[None]:
    """Within the block :func:`make_engine` may set up a process that is somebody else's.

    Threads and torch's rules on determinism are afterwards what they were before.
    """
    threads = torch.get_num_threads()
    wanted = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with threadpool_limits(user_api="blas"):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(wanted, warn_only=warns)
            torch.backends.cudnn.deterministic = cudnn
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextlib.contextmanager
def compute_in_one_thread() -> Iterator[None]:
    """Within the block torch computes in this thread alone, as trials do.

    In a forked process its other threads are missing, and would be waited for without end.
    """
    with keep_process_settings():
        torch.set_num_threads(1)
        yield


def find_device(name: str) -> torch.device:
    """The device of that name, if torch can compute on it here.

    Raises:
        KdoptError: It is none that kdopt computes on, or not there.
    """
    kind, number = parse_device(name)
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if number is not None and number >= there:
        raise KdoptError(
            f"device '{name}': this process sees {format_count(there, 'GPU')}"
            + (f", cuda:0 to cuda:{there - 1}" if there else "")
            + f"; {DEVICES} with an N that is there"
        )
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise KdoptError(f"device '{name}': {reason}; {DEVICES}") from error
    return chosen


_read_version = functools.cache(version)
"""Reads a file, which takes milliseconds: too long for every trial."""


@functools.cache
def _describe_cpu() -> str:
    """Maker and widest instructions of the processor: what the choice of kernels depends on."""
    maker = platform.processor()
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
        found = re.search(r"^vendor_id\s*:\s*(\S+)", text, re.MULTILINE)
        maker = found[1] if found else maker
    return f"{maker} {torch.backends.cpu.get_cpu_capability()}".strip()


def _make_cuda_deterministic(wanted: bool) -> None:
    if wanted:
        # cuBLAS reads it when it is first used, so it is set before anything is on the device.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = wanted
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    # It would fill all new memory with NaN, a tenth of a step's time, against reads of memory that
    # nothing wrote; kdopt has none.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Have the C library keep freed memory up to a size instead of giving it back at once.

    By its own rule glibc gives a batch's activations back to the system, which hands them out
    again page by page, each cleared first: a quarter of an evaluation's time. What a process takes
    at its peak grows by a few per cent at most. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    trim_threshold, mmap_threshold = -1, -3  # as malloc.h numbers them
    # Before 2.35 glibc takes no more than 32 MiB; blocks above are given back as ever.
    if mallopt(mmap_threshold, KEPT_BYTES) or mallopt(mmap_threshold, 32 * 2**20):
        mallopt(trim_threshold, KEPT_BYTES)


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # AVX512-BF16 is what oneDNN's fast bfloat16 kernels need at least.
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(supported and supported())
    return False


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Make everything random inside depend on the seed alone.

    Initialisation and dropout draw from torch's global generators, so these are seeded for the
    block and restored after it. The generator given is for the order of batches.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        # On the CPU wherever models are: the batches are the same on every device.
        generator = torch.Generator()
        generator.manual_seed(seed)
        yield generator


class Images:
    """A set of labelled images on the device, as bytes; batches are normalised when taken.

    Or one of feature vectors, or of token ids, which are given as they are.

    Args:
        pixels: uint8, (n, channels, height, width); of vectors float32, (n, numbers); of token ids
            int64, (n, length).
        labels: int64, (n,).
        mean: Per channel, of pixels scaled to [0, 1], or per number; empty for token ids.
        std: Likewise.
        views: How many views each image has (``kdopt.train.augment``): ``n`` positions hold
            ``n / views`` images.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        views: int = 1,
    ) -> None:
        self.labels = labels
        self.views = views
        self._mean_std = (mean, std)
        self._shape = pixels.shape[1:]
        images = pixels.ndim == 4
        # One row of bytes per image, channels last: taken row by row, and normalised in one go.
        self._rows = pixels.permute(0, 2, 3, 1).flatten(1) if images else pixels
        per_row = self._rows.shape[1] // len(mean) if mean else 1
        most = 255 if images else 1
        self._shift = (torch.tensor(mean, device=pixels.device) * most).repeat(per_row)
        # Multiplied by later, as dividing gives other last bits, and so other results.
        self._scale = (1 / (torch.tensor(std, device=pixels.device) * most)).repeat(per_row)

    def __len__(self) -> int:
        """Number of images, whatever views they have."""
        return len(self.labels) // self.views

    @property
    def positions(self) -> int:
        """Number of images, each view counted."""
        return len(self.labels)

    @property
    def numbers_each(self) -> int:
        """Numbers in an image (channels times height times width), vector or sequence."""
        return self._rows.shape[1]

    @property
    def pixels(self) -> Tensor:
        """uint8, (n, channels, height, width), or what there is instead."""
        return self._as_images(self._rows)

    def batch(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images, (batch, channels, height, width), channels last.

        Or normalised vectors, (batch, numbers), or token ids, (batch, length).
        """
        rows = self._rows
        # index_select copies whole rows, where indexing copies byte by byte.
        taken = rows[index] if isinstance(index, slice) else rows.index_select(0, index)
        if not len(self._shift):
            return taken
        # A copy, also of floats: a slice is a view of the set itself.
        numbers = taken.to(torch.float32, copy=isinstance(index, slice))
        return self._as_images(numbers.sub_(self._shift).mul_(self._scale))

    def take(self, index: Tensor) -> Images:
        """The images at these positions, as a set of their own."""
        return Images(self.pixels[index], self.labels[index], *self._mean_std)

    def with_views(self, pixels: Tensor, views: int) -> Images:
        """The same images and labels in several views, given as uint8 (views * n, ...)."""
        return Images(pixels, self.labels.repeat(views), *self._mean_std, views)

    def _as_images(self, rows: Tensor) -> Tensor:
        if len(self._shape) != 3:
            return rows
        channels, height, width = self._shape
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
