"""Names that a launcher and its workers agree on; apart, so that launching imports no torch."""

PARENT_VARIABLE = "KDOPT_PARENT"
"""Process number of the launcher; a worker stops when its launcher is gone."""
