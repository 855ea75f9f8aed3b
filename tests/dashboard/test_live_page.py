from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from kdopt.dashboard import live_page
from kdopt.dashboard.live_page import LivePage, RenderedPage, make_page_server
from kdopt.errors import StoreError
from tests.dashboard.serving import answering


def ask(app, path="/"):
    """The status, the headers and the text of an answer."""
    answer = []
    body = app({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda *found: answer.extend(found))
    return answer[0], dict(answer[1]), b"".join(body).decode()


def make_pages(*pages):
    """An application whose page is another whenever it is made; an error is raised."""
    coming = iter(pages)

    def render():
        page = next(coming)
        if isinstance(page, Exception):
            raise page
        return page

    return LivePage(render)


def test_the_page_is_made_anew_until_it_is_final(monkeypatch):
    monkeypatch.setattr(live_page, "REFRESH_S", 0)
    monkeypatch.setattr(live_page, "RENDERING_SHARE", 1e9)
    app = make_pages(RenderedPage("first", False), RenderedPage("last", True))
    status, headers, text = ask(app)
    assert (status, text) == ("200 OK", "first") and "Refresh" in headers
    for _ in range(2):
        _, headers, text = ask(app)
        assert text == "last" and "Refresh" not in headers


def test_it_is_not_made_anew_for_every_window_that_asks():
    app = make_pages(RenderedPage("first", False), RenderedPage("second", False))
    assert [ask(app)[2] for _ in range(3)] == ["first"] * 3


def test_a_store_that_is_away_leaves_the_page_of_before(monkeypatch):
    monkeypatch.setattr(live_page, "REFRESH_S", 0)
    monkeypatch.setattr(live_page, "RENDERING_SHARE", 1e9)
    away = StoreError("no answer")
    assert ask(make_pages(away))[::2] == ("503 Service Unavailable", "no answer\n")
    app = make_pages(RenderedPage("first", False), away)
    assert [ask(app)[2] for _ in range(2)] == ["first", "first"]


def test_the_server_answers_this_machine_with_a_policy_that_loads_nothing():
    with answering(make_page_server(lambda: RenderedPage("<p>page</p>", True), 0)) as port:
        home = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(home, timeout=600) as answer:
            assert answer.read() == b"<p>page</p>"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{home}/etc", timeout=600)
        other = urllib.request.Request(home, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(other, timeout=600)
