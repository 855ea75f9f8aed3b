"""CUDA graphs: operations of a GPU, recorded once and replayed by a single call of the host."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch

from kdopt.train.steps import Recorder


class GraphRecorder:
    """Records operations as CUDA graphs that share their memory.

    Sharing is safe as graphs are replayed one after the other, and nothing that one of them leaves
    in that memory is read after it.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _get_stream(device, 0)
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, operations: Callable[[], None]) -> None:
        """Run operations on the stream on which they will be recorded."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            operations()
        current.wait_stream(self._stream)

    def record(self, operations: Callable[[], None]) -> Callable[[], None]:
        """Record operations without running them; what replays them on the same memory.

        Raises:
            RuntimeError: They cannot be recorded: one of them reads a value back, say.
        """
        graph = torch.cuda.CUDAGraph()
        # Other threads of a worker renew its lease meanwhile, which is no business of the GPU's.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            operations()
        return graph.replay

    def run_at_once(self, parts: Sequence[Callable[[], None]]) -> None:
        """Run operations that do not need each other, each on a stream of its own."""
        current = torch.cuda.current_stream(self._device)
        streams = [_get_stream(self._device, number) for number in range(1, len(parts) + 1)]
        for stream, part in zip(streams, parts, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                part()
        for stream in streams:
            current.wait_stream(stream)


@functools.cache
def _get_stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """The streams of all recordings: cuBLAS keeps 32 MiB or more for each that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def make_recorder(device: torch.device) -> Recorder | None:
    """What records steps on a device; ``None`` where it has no such thing."""
    return GraphRecorder(device) if device.type == "cuda" else None
