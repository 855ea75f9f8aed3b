"""All methods, by name."""

from __future__ import annotations

from kdopt.campaign.stage_settings import TransferName
from kdopt.plugins.code import get_code
from kdopt.train.methods.base import Method
from kdopt.train.methods.dist import DIST
from kdopt.train.methods.dkd import DKD
from kdopt.train.methods.dml import DML
from kdopt.train.methods.dp_kd import DP_KD, DP_KD_SUPERVISED
from kdopt.train.methods.logit_std import LOGIT_STD
from kdopt.train.methods.nkd import NKD
from kdopt.train.methods.vanilla import VANILLA
from kdopt.train.methods.wttm import WTTM


def find_method(name: str, transfer_set: TransferName) -> Method:
    """The method of that name, in the variant that goes with a transfer set.

    DP-KD is supervised on the public labeled set only (paper, section III). Vanilla, tuned KD and
    KD on public sets are one loss. A name that is not kdopt's is a plugin's.

    Raises:
        KeyError: Nothing in use here has that name.
    """
    if name == "dp_kd" and transfer_set == "public_labeled":
        return DP_KD_SUPERVISED
    code = get_code("method", name)
    if name in METHODS_BY_NAME or code is None:
        return METHODS_BY_NAME[name]
    return Method(code.function, code.trains_both)


METHODS_BY_NAME: dict[str, Method] = {
    "vanilla": VANILLA,
    "kd": VANILLA,
    "public_kd": VANILLA,
    "dkd": DKD,
    "dist": DIST,
    "nkd": NKD,
    "logit_std": LOGIT_STD,
    "wttm": WTTM,
    "dml": DML,
    "dp_kd": DP_KD,
}
