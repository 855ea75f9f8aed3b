"""PostgreSQL servers and roles that take no writes: found before the work, and refused by name."""

from __future__ import annotations

import sqlalchemy as sa

_ASK = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')"

_SAID = ("in a read-only transaction", "during recovery")
"""What PostgreSQL says of a write that it does not take."""


def find_read_only_fault(connection: sa.Connection) -> str | None:
    """Why nothing can be written through a connection to PostgreSQL; ``None`` if it can.

    Args:
        connection: To the database; what its transaction itself may do does not matter.
    """
    standby, read_only = connection.execute(sa.text(_ASK)).one()
    if standby:
        return (
            "pg_is_in_recovery is true: this server is a standby, which takes no writes; give the "
            "URL of the primary, or both with target_session_attrs=read-write, or promote this one"
        )
    if read_only == "on":
        return (
            "default_transaction_read_only is 'on': this role or database takes no writes; give "
            "the URL of one that may write, or set it off"
        )
    return None


def is_read_only(error: sa.exc.DBAPIError) -> bool:
    """Whether a write failed because the server takes none now.

    In the midst of work that can pass: a standby that takes the primary's place is promoted.
    """
    return any(words in str(error.orig) for words in _SAID)
