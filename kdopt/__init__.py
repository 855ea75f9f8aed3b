"""kdopt: which distillation method, temperature and alpha, for every teacher-student pair.

best = kdopt.tune(teacher, student, train=(x, y), validation=(xv, yv), test=(xt, yt), budget=8)

store = kdopt.open("storage/kdopt.db")
store["quickstart"].best()
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdopt.api.stores import OpenStore
    from kdopt.api.tune import TuningStopped, tune
    from kdopt.api.tuned import TunedPair
    from kdopt.api.watching import MLflow, WeightsAndBiases

__version__ = "0.1.0"
__all__ = ["MLflow", "TunedPair", "TuningStopped", "WeightsAndBiases", "open", "tune"]

_WHERE = {
    "MLflow": "kdopt.api.watching",
    "TunedPair": "kdopt.api.tuned",
    "TuningStopped": "kdopt.api.tune",
    "WeightsAndBiases": "kdopt.api.watching",
    "tune": "kdopt.api.tune",
}


def __getattr__(name: str) -> Any:
    """What loads torch, when it is first asked for: `import kdopt` stays cheap."""
    if name not in _WHERE:
        raise AttributeError(f"module 'kdopt' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)


def open(location: str | Path = "storage/kdopt.db") -> OpenStore:
    """Open a store to look at what is in it; see :mod:`kdopt.api.stores`.

    Args:
        location: Path of an SQLite file, or the URL of a database.

    Raises:
        StoreError: There is no store there, or it cannot be opened.
    """
    # Imported here: `import kdopt` stays cheap for every command.
    from kdopt.api.stores import OpenStore

    return OpenStore(location)
