"""Whether the content of an artifact can be what it is for, as far as that is seen without torch.

A right hash says only that the content is what somebody put there once. What a model has to have
is checked where it is built.
"""

from __future__ import annotations

import sys

import numpy as np
import safetensors

from kdopt.campaign.record import CampaignRecord
from kdopt.data.splits import parse_splits
from kdopt.errors import ArtifactError
from kdopt.search.prior import Prior

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def check_content(content: bytes, sha256: str, record: CampaignRecord) -> None:
    """Refuse content that no worker would take for what its campaign needs it for.

    Args:
        content: The artifact.
        sha256: Its hash, which says what it is for.
        record: The campaign's.

    Raises:
        ArtifactError: It is something else, or has numbers that are not finite.
        KdoptError: It is a prior of another version of kdopt.
    """
    if sha256 in record.splits.values():
        # How many images there are is known where they are.
        parse_splits(content, record.campaign, sys.maxsize)
    elif sha256 == record.prior:
        Prior.from_bytes(content)
    else:
        _check_tensors(content)


def _check_tensors(content: bytes) -> None:
    try:
        tensors = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"not a safetensors file ({reason})") from error
    for name, tensor in tensors:
        kind = tensor["dtype"]
        if kind == "BF16":
            # Its exponent is all ones where the number is not finite.
            whole = np.frombuffer(tensor["data"], np.uint16)
            finite = (whole & 0x7F80) != 0x7F80
        elif kind in _FLOATS:
            finite = np.isfinite(np.frombuffer(tensor["data"], _FLOATS[kind]))
        else:
            continue
        if not finite.all():
            raise ArtifactError(f"'{name[:100]}' holds numbers that are not finite")
