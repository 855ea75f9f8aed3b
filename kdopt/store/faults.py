"""Faults of a database: which ones pass by waiting, and what to do about the others.

PostgreSQL servers and roles that take no writes are found before the work, and refused by name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
import tenacity
from sqlalchemy.engine import URL

from kdopt.errors import StoreError
from kdopt.files import find_tight_limit
from kdopt.shown import shorten
from kdopt.store.location import explain_driver_error, label_of
from kdopt.store.locks import LOCK_PATIENCE_S, describe_holders, is_lock

logger = logging.getLogger(__name__)
T = TypeVar("T")

_FINAL = (
    "disk is full",
    "readonly database",
    "read-only file system",
    "unable to open database",
    "not a database",
    "malformed",
    "could not decode",
    "permission denied",
    "authentication failed",
    "no such table",
    "does not exist",
    "disk i/o error",
    "no such column",
    "syntax error",
    "no password supplied",
    "no pg_hba.conf entry",
    "invalid connection option",
)
"""What drivers say of faults that waiting does not end; they agree on no error code."""

_FIXES = (
    (
        ("disk is full", "disk i/o error", "no space left"),
        "free space and run the same command again; nothing recorded is lost",
    ),
    (
        ("in a read-only transaction", "during recovery", "session is read-only", "hot standby"),
        "this server takes no writes (now): give the URL of the primary, or promote this standby",
    ),
    (
        ("readonly", "read-only", "unable to open"),
        "change the permissions or give another --store",
    ),
    (
        ("not a database", "malformed", "could not decode"),
        "this file is not a (whole) SQLite database; give another --store or restore a backup",
    ),
    (
        ("locked",),
        "another program holds the database for long: end it, and run the same command again; a "
        "network disk cannot lock at all, so keep an SQLite store on a local one",
    ),
    (
        ("lock timeout",),
        "another session holds the tables for long: end it (SELECT pg_terminate_backend(PID)), and "
        "run the same command again",
    ),
    (
        ("too many clients", "too many connections", "connection slots"),
        "let the server take more connections (max_connections), or start fewer workers",
    ),
    (
        ("authentication failed", "no password supplied", "pg_hba.conf", 'role "'),
        "check the user and the password in the URL, and that the server lets them in from here",
    ),
    (
        ("invalid connection option", "invalid port", "invalid sslmode"),
        "check what follows the '?' of the URL",
    ),
    (
        ("translate host name", "not known", "failed to resolve", "no address associated"),
        "check the host in the URL",
    ),
    (("permission denied",), "let this user write the tables (GRANT), or use another one"),
    (
        ("no such table", "no such column", "syntax error", "relation"),
        "its tables are not those of this kdopt: use the version that made the store, or another "
        "--store",
    ),
    (("does not exist",), "make the database (CREATE DATABASE), or check its name in the URL"),
)
"""What to do about a fault, by words of the driver; the first that fits."""

_ASK_WHETHER_READ_ONLY = (
    "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')"
)

_READ_ONLY = ("in a read-only transaction", "during recovery")
"""What PostgreSQL says of a write that it does not take."""

_OF_LIMITS = ("unable to open", "disk is full", "disk i/o error")
"""What SQLite says of limits too."""

_OTHER_FIX = "check that the database runs, its host and port in the URL, and that you may write it"


def retry_call(url: URL, patience_s: float, call: Callable[[], T]) -> T:
    """Call again and again while the database is locked, restarting or not reached.

    Args:
        url: Of the database.
        patience_s: How long, in seconds; where it is locked at least :data:`LOCK_PATIENCE_S`.
        call: What to do, in a transaction of its own.

    Raises:
        StoreError: The fault will not pass by waiting, or did not pass within that time.
    """
    holders = ""

    def is_over(state: tenacity.RetryCallState) -> bool:
        locked = is_lock(_read_reason(url, state))
        limit = max(patience_s, LOCK_PATIENCE_S) if locked else patience_s
        return (state.seconds_since_start or 0.0) >= limit

    def log_retry(state: tenacity.RetryCallState) -> None:
        nonlocal holders
        reason = _read_reason(url, state)
        if not is_lock(reason):
            logger.warning("store %s: %s; trying again", label_of(url), reason)
            return
        # The last that were seen: who waits as long may be the next to hold it, for an instant.
        holders = describe_holders(url) or holders
        logger.warning(
            "store %s: waiting for a lock%s, for %.0f s so far (%s); trying again",
            label_of(url),
            f" that is held by {holders}" if holders else "",
            state.seconds_since_start or 0.0,
            reason,
        )

    retrying = tenacity.Retrying(
        stop=is_over,
        # Random, as many workers would come back in the same instant otherwise.
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
        retry=tenacity.retry_if_exception(_can_pass),
        before_sleep=log_retry,
        reraise=True,
    )
    try:
        return retrying(call)
    except sa.exc.DBAPIError as error:
        raise StoreError(_explain_fault(url, error, holders)) from error


def _read_reason(url: URL, state: tenacity.RetryCallState) -> str:
    error = state.outcome and state.outcome.exception()
    return explain_driver_error(url, getattr(error, "orig", error))


def _can_pass(error: BaseException) -> bool:
    """Whether waiting can help: locks and lost connections do pass, the rest does not."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if not isinstance(
        error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError
    ):
        return bool(error.connection_invalidated)
    return not any(text in str(error.orig).lower() for text in _FINAL)


def _explain_fault(url: URL, error: sa.exc.DBAPIError, holders: str) -> str:
    reason = explain_driver_error(url, error.orig)
    said = reason.lower()
    if holders and is_lock(reason):
        reason += f", held by {holders}"
    fix = next((fix for words, fix in _FIXES if any(word in said for word in words)), _OTHER_FIX)
    if any(words in said for words in _OF_LIMITS):
        fix = find_tight_limit() or fix
    return f"store {label_of(url)}: {shorten(reason, 1000)}; {fix}"


def find_read_only_fault(connection: sa.Connection) -> str | None:
    """Why nothing can be written through a connection to PostgreSQL; ``None`` if it can.

    Args:
        connection: To the database; what its transaction itself may do does not matter.
    """
    standby, read_only = connection.execute(sa.text(_ASK_WHETHER_READ_ONLY)).one()
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
    return any(words in str(error.orig) for words in _READ_ONLY)
