"""What optuna-dashboard shows of a store, made fit to read: the list of studies, without buttons.

optuna-dashboard lists studies as cards in the order of their ids, also those without trials, and
offers to create, rename and delete them. Behind this, studies that sum others up come first, each
pair's card says its verdict, and what only reads offers nothing that cannot be done. No copy of its
front end is kept: the list and the page are changed on their way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from kdopt.campaign.names import INDEX_SUFFIX
from kdopt.store.attributes import RECORD_KEY, VERDICT_KEY

STYLE_PATH = "/kdopt.css"
STYLE = b"""\
/* Buttons that would change the store, which this dashboard does not. */
[aria-label="rename study"], [aria-label="delete study"],
button:has(> svg[data-testid="EditIcon"]),
div:has(> .MuiTextField-root #search-study) > button + button { display: none !important; }
/* Names are words. */
.MuiTypography-h5 { word-break: break-word !important; }
"""
LIST_PATH = "/api/studies"


class HeldAnswer:
    """What an application says of its answer, before any of it is sent."""

    def __init__(self) -> None:
        self.status, self.headers = "500", list[tuple[str, str]]()

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """What is given to the application instead of the server's ``start_response``."""
        self.status, self.headers = status, headers
        return lambda _: None


class ReadableStudies:
    """optuna-dashboard with its list of studies arranged, and a style sheet more.

    Args:
        app: optuna-dashboard.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer what the dashboard answers, changed where it is the list or the page."""
        path = str(environ.get("PATH_INFO", ""))
        if path == STYLE_PATH:
            headers = [("Content-Type", "text/css"), ("Content-Length", str(len(STYLE)))]
            start_response("200 OK", headers)
            return [STYLE]
        if path.rstrip("/") == LIST_PATH:
            return self._change_body(environ, start_response, _arrange_list)
        if path == "/dashboard" or path.startswith("/dashboard/"):
            return self._change_body(environ, start_response, _add_style)
        return self._app(environ, start_response)

    def _change_body(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        change: Callable[[bytes], bytes],
    ) -> Iterable[bytes]:
        answer = HeldAnswer()
        # Whole and plain: neither compressed nor a part, nor "as you have it already".
        asked = {**environ, "REQUEST_METHOD": "GET", "HTTP_ACCEPT_ENCODING": "identity"}
        for header in ("HTTP_RANGE", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH"):
            asked.pop(header, None)
        found = self._app(asked, answer.start)
        try:
            body = b"".join(found)
        finally:
            if hasattr(found, "close"):
                found.close()
        if answer.status.startswith("200"):
            body = change(body)
        dropped = ("content-length", "last-modified", "etag", "accept-ranges")
        kept = [(name, value) for name, value in answer.headers if name.lower() not in dropped]
        start_response(answer.status, [*kept, ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def arrange_studies(studies: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The list of studies as the dashboard is to show it: it begins at the end of the list.

    Args:
        studies: ``study_name`` and ``user_attrs`` of each, in the order of their ids.

    Returns:
        The same without those that have no trials, what sums up others last; names say what is to
        be seen.
    """
    named = [study for study in studies if RECORD_KEY not in _read_attributes(study)]
    index = [study for study in named if str(study["study_name"]).endswith(INDEX_SUFFIX)]
    work = [study for study in named if not str(study["study_name"]).endswith(INDEX_SUFFIX)]
    return [{**study, "study_name": _describe_study(study)} for study in (*reversed(work), *index)]


def _describe_study(study: Mapping[str, Any]) -> str:
    name = str(study["study_name"])
    if name.endswith(INDEX_SUFFIX):
        about = "many teachers" if name.count("/") == 1 else "all pairs, their verdicts and maps"
        return f"{name} - {about}"
    verdict = _read_attributes(study).get(VERDICT_KEY)
    return f"{name} - {verdict}" if verdict else name


def _read_attributes(study: Mapping[str, Any]) -> dict[str, str]:
    return {a["key"]: a["value"] for a in study.get("user_attrs", ())}


def _arrange_list(body: bytes) -> bytes:
    listed = json.loads(body)
    listed["study_summaries"] = arrange_studies(listed["study_summaries"])
    return json.dumps(listed).encode()


def _add_style(body: bytes) -> bytes:
    link = f'<link rel="stylesheet" href="{STYLE_PATH}">'
    return body.replace(b"</head>", link.encode() + b"</head>", 1)
