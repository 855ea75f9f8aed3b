"""Faults of a database: which ones pass by waiting, and what to do about the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
import tenacity
from sqlalchemy.engine import URL

from kdopt.errors import StoreError
from kdopt.store.location import explain_driver_error, label_of

logger = logging.getLogger(__name__)
T = TypeVar("T")

_FINAL = (
    "disk is full",
    "readonly database",
    "read-only",
    "unable to open database",
    "not a database",
    "malformed",
    "permission denied",
    "authentication failed",
    "no such table",
    "does not exist",
    "disk i/o error",
)
"""What drivers say of faults that waiting does not end; they agree on no error code."""


def retry_call(url: URL, patience_s: float, call: Callable[[], T]) -> T:
    """Call again and again while the database is locked, restarting or not reached.

    Raises:
        StoreError: The fault will not pass by waiting, or did not pass within ``patience_s``.
    """

    def log_retry(state: tenacity.RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        reason = explain_driver_error(url, getattr(error, "orig", error))
        logger.warning("store %s: %s; trying again", label_of(url), reason)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(patience_s),
        # Random, as many workers would come back in the same instant otherwise.
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
        retry=tenacity.retry_if_exception(_can_pass),
        before_sleep=log_retry,
        reraise=True,
    )
    try:
        return retrying(call)
    except sa.exc.DBAPIError as error:
        raise StoreError(_explain_fault(url, error)) from error


def _can_pass(error: BaseException) -> bool:
    """Whether waiting can help: locks and lost connections do pass, the rest does not."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if not isinstance(
        error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError
    ):
        return bool(error.connection_invalidated)
    return not any(text in str(error.orig).lower() for text in _FINAL)


def _explain_fault(url: URL, error: sa.exc.DBAPIError) -> str:
    reason = explain_driver_error(url, error.orig)
    fix = "check that the database runs and that this user may write it"
    if any(full in reason.lower() for full in ("disk is full", "disk i/o error", "no space left")):
        fix = "free space and run the same command again; nothing recorded is lost"
    elif "readonly" in reason or "unable to open" in reason:
        fix = "change the permissions or give another --store"
    elif "not a database" in reason or "malformed" in reason:
        fix = "this file is not a (whole) SQLite database; give another --store or restore a backup"
    return f"store {label_of(url)}: {reason}; {fix}"
