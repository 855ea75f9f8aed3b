"""What the machine can do: the rate of matrix products, which bounds every training."""

from __future__ import annotations

import time

import torch

SIDE = 1024


def gemm_gflops(dtype: torch.dtype, threads: int, seconds: float = 0.5) -> float:
    """10^9 floating point operations per second of a large matrix product: the best of many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = (torch.randn(SIDE, SIDE, dtype=dtype) for _ in range(2))
        torch.mm(a, b)
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            torch.mm(a, b)
            best = min(best, time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return 2 * SIDE**3 / best / 1e9
