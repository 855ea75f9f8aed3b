"""Whose fault it is that a trial has no result: its own, or that of the world around it."""

from __future__ import annotations

import traceback

import torch

from kdopt.errors import ArtifactError, DataError, KdoptError, LeaseLostError, StoreError


class BrokenDeviceError(KdoptError):
    """The device failed: nothing can be computed on it any more in this process."""


def explain_failure(error: Exception) -> str:
    """The reason that the store keeps of a trial's own failure: what it was, then where.

    Raises:
        KdoptError: It is a fault of the store, the files, the machine or the device, which other
            trials would meet too: the trial did not fail.
    """
    if isinstance(error, StoreError | ArtifactError | DataError | LeaseLostError):
        raise error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, torch.AcceleratorError):
        # Every later call of this process would fail likewise, and so all trials that it takes.
        raise BrokenDeviceError(
            f"the device failed: {' '.join(str(error).split())[:300]}; look at it (nvidia-smi, "
            "dmesg) and start the worker again. Its trial is taken over, and failed if it takes "
            "down several workers"
        ) from error
    if isinstance(error, OSError):
        raise KdoptError(
            f"this machine failed a trial: {text[:300]}; mend that and run the same command "
            "again: the trial was given back"
        ) from error
    if isinstance(error, KdoptError):
        return str(error)
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{text}\n{where}"
