"""All methods with fixed settings, by name."""

from __future__ import annotations

from kdopt.campaign.stage_settings import MethodName, TransferName
from kdopt.train.methods.base import Method
from kdopt.train.methods.dml import DML
from kdopt.train.methods.dp_kd import DP_KD, DP_KD_SUPERVISED
from kdopt.train.methods.vanilla import VANILLA


def find_method(name: MethodName, transfer_set: TransferName) -> Method:
    """The method of that name, in the variant that goes with a transfer set.

    DP-KD is supervised on the public labeled set only (paper, section III).
    """
    if name == "dp_kd" and transfer_set == "public_labeled":
        return DP_KD_SUPERVISED
    return {"vanilla": VANILLA, "dml": DML, "dp_kd": DP_KD}[name]
