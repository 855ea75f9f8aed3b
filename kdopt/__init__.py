"""kdopt: which distillation method, temperature and alpha, for every teacher-student pair.

store = kdopt.open("storage/kdopt.db")
store["quickstart"].best()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdopt.api.stores import OpenStore

__version__ = "0.1.0"
__all__ = ["open"]


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
