"""Settings as people read them, and texts of others: nothing secret, nothing that programs obey.

HTML, Markdown and LaTeX have their own escapes in ``kdopt.report``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

LONGEST_MESSAGE = 1900
"""Characters of a message: a page of a terminal, whatever a file or a driver says."""

HIDDEN = "***"

_DATABASES = r"postgres\w*|sqlite|mysql|mariadb|oracle|mssql|jdbc"
_PROTOCOLS = rf"{_DATABASES}|s3a?|gs|gcs|abfss?|az|sftp|ftp|https?|file|memory"
_LIKE_A_URL = re.compile(
    rf"\s*({_PROTOCOLS})[+\w]*:"  # a scheme
    r"|.*:.*@"  # USER:PASSWORD@HOST
    r"|.*@[^/]*:\d"  # USER@HOST:PORT
    r"|.*[?&][\w-]+="  # a query
    r"|(.*\s)?(host|hostaddr|port|dbname|user|passw\w*|pwd|sslmode|service)\s*=",  # libpq's form
    re.IGNORECASE | re.DOTALL,
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]")

_EVERYDAY = (
    "admin artifacts campaign connection database error host kdopt localhost optuna password "
    "postgres postgresql psycopg root server sqlite status storage store test user worker"
)


# Not the end of a quotation: the text may be JSON, which has to stay JSON.
_REST = r"(?:[^\s'\"\\]|\\(?!\"))*"
_IN_TEXT = (
    (re.compile(r"://(?!USER)[^\s'\"]*@"), f"://{HIDDEN}@"),
    (re.compile(rf"(://[^\s'\"?#]*)[?#]{_REST}"), rf"\1?{HIDDEN}"),
    (re.compile(rf"\b(\w*passw\w*|pwd)(\s*=\s*)(?![\s=&'\"]){_REST}", re.I), rf"\1\2{HIDDEN}"),
    (re.compile(r"(?<![\w/])[^\s'\"/:@()]+:(?!//)[^\s'\"@]+@(?=[\w\[])"), f"{HIDDEN}@"),
)


def clean_text(text: str) -> str:
    """Text without what a terminal would obey: escape codes, control and direction characters.

    >>> clean_text("a" + chr(27) + "[2Jb")
    'a?[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def clean_line(text: str) -> str:
    """:func:`clean_text` in one line, for a cell or a note."""
    return clean_text(" ".join(text.splitlines())).replace("\t", " ")


def defuse_formula(text: str) -> str:
    """Text that a spreadsheet shows rather than computes; numbers stay as they are.

    >>> defuse_formula("=1+1"), defuse_formula("-0.50")
    ("'=1+1", '-0.50')
    """
    if not text.startswith(_FORMULA) or len(text) == 1:
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def shorten(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """A text without its middle, if it is too long: its beginning says what, its end what to do."""
    if len(text) <= longest:
        return text
    half = (longest - 40) // 2
    left_out = format_count(len(text) - 2 * half, "character")
    return f"{text[:half]} [... {left_out} ...] {text[-half:]}"


def looks_like_url(text: str) -> bool:
    """Whether a text without ``://`` was meant as a URL or a connection string, not as a path."""
    return _LIKE_A_URL.match(text) is not None and not _WINDOWS_PATH.match(text)


def list_hideable(secrets: Iterable[str]) -> list[str]:
    """The secrets that can be hidden wherever they stand: those that are no everyday word.

    Messages are full of the others, such as a user called ``kdopt``: to hide these would spoil
    the messages, and tell the secret by the gaps.
    """
    return sorted({secret for secret in secrets if secret.lower() not in _EVERYDAY.split()})


def hide_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """A message, perhaps a driver's, without credentials.

    Args:
        text: The message.
        secrets: What is secret in it, see :func:`list_secrets`; what looks like credentials of a
            URL or like a password is hidden anyway.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    for pattern, hidden in _IN_TEXT:
        text = pattern.sub(hidden, text)
    return text


def list_secrets(location: str) -> list[str]:
    """What a URL, or what was meant as one, holds beside scheme, host, port and database."""
    before, at, after = location.partition("://")
    rest = after if at else before
    if not at and not looks_like_url(location):
        return []
    found = []
    credentials, at, tail = rest.rpartition("@")
    if at:
        user, _, password = credentials.partition(":")
        found += [credentials, user, password, *re.split(r"[@/?#]", password)]
        # Often the database is called like its user, and shown: a name that all may read hides
        # nothing. Unless it is the password too.
        if user != password and user in re.split(r"[@/?#]", tail):
            found = [text for text in found if text != user]
    found += re.findall(r"=\s*([^\s&'\"]+)", tail)
    # Short ones would hide half of every message, and protect nothing.
    return sorted({form for secret in found for form in (secret, unquote(secret)) if form[3:]})


def format_count(n: float, one: str, many: str | None = None) -> str:
    """A number and what it counts.

    Args:
        n: How many, a whole number.
        one: What one is called; words before the noun stay as they are.
        many: What others are called; left out where ``one`` ends with a noun that takes -s.

    >>> format_count(1, "file"), format_count(1234, "failed trial"), format_count(0, "study")
    ('1 file', '1,234 failed trials', '0 studies')
    >>> format_count(2, "epoch"), format_count(2, "class")
    ('2 epochs', '2 classes')
    >>> format_count(2, "study was", "studies were")
    '2 studies were'
    """
    if n == 1:
        return f"1 {one}"
    if many is None and re.search("[^aeiou]y$", one):
        many = f"{one[:-1]}ies"
    elif many is None:
        many = f"{one}es" if one.endswith(("s", "x", "sh")) else f"{one}s"
    return f"{n:,.0f} {many}"


def format_setting(value: float) -> str:
    """A temperature, an alpha or a count as people read it; empty for NaN.

    A value that someone wrote stays as it is; one that a search drew has three digits.

    >>> format_setting(0.125), format_setting(2.043776598844426)
    ('0.125', '2.04')
    """
    if math.isnan(value):
        return ""
    written = f"{value:g}"
    if math.isclose(float(written), value, rel_tol=1e-12):
        return written
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_params(params: Mapping[str, object]) -> str:
    """The parameters of a trial as people read them: T and alpha first, then the others by name.

    >>> format_params({"beta": 8, "temperature": 4.0, "alpha": 0.5})
    'T=4, alpha=0.5, beta=8'
    """
    first = [name for name in ("temperature", "alpha") if name in params]
    return ", ".join(
        f"{'T' if name == 'temperature' else name}="
        f"{format_setting(value) if isinstance(value, float) else value}"
        for name, value in ((n, params[n]) for n in [*first, *sorted(params.keys() - {*first})])
    )
