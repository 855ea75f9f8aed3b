from __future__ import annotations

import json

from kdopt.dashboard.listing import STYLE_PATH, ReadableStudies, arrange_studies
from kdopt.store.attributes import RECORD_KEY, VERDICT_KEY


def study(number, name, **attributes):
    attrs = [{"key": key, "value": value} for key, value in attributes.items()]
    return {"study_id": number, "study_name": name, "directions": [], "user_attrs": attrs}


STUDIES = [
    study(1, "mine/campaign", **{RECORD_KEY: "{}"}),
    study(2, "mine/uniform/pretrain"),
    study(3, "mine/uniform/tune/t00-s01", **{VERDICT_KEY: "train on"}),
    study(4, "other/campaign"),
    study(5, "mine/uniform/index"),
    study(6, "mine/index"),
]


def test_the_answer_comes_first_and_a_campaigns_own_study_is_not_met():
    # The dashboard shows its list from the end.
    shown = [s["study_name"] for s in reversed(arrange_studies(STUDIES))]
    assert shown == [
        "mine/index - many teachers",
        "mine/uniform/index - all pairs, their verdicts and maps",
        "mine/uniform/pretrain",
        "mine/uniform/tune/t00-s01 - train on",
        # Another program's, which only has such a name.
        "other/campaign",
    ]


def ask(path, method="GET", **headers):
    """What comes out for a path: the status, the headers and the body."""
    seen = {}

    def dashboard(environ, start_response):
        seen.update(environ)
        body = json.dumps({"study_summaries": STUDIES}) if "api" in path else "<head></head>"
        start_response("200 OK", [("Content-Length", str(len(body))), ("ETag", "x")])
        return [body.encode()]

    answer = {}

    def start(status, found):
        answer.update(status=status, headers=dict(found))

    environ = {"PATH_INFO": path, "REQUEST_METHOD": method, **headers}
    body = b"".join(ReadableStudies(dashboard)(environ, start))
    return answer["status"], answer["headers"], body, seen


def test_the_list_is_arranged_whatever_the_browser_has_already():
    _, headers, body, asked = ask("/api/studies", HTTP_IF_NONE_MATCH="x", HTTP_RANGE="bytes=0-1")
    assert len(json.loads(body)["study_summaries"]) == len(STUDIES) - 1
    assert headers == {"Content-Length": str(len(body))}
    assert not {"HTTP_IF_NONE_MATCH", "HTTP_RANGE"} & asked.keys()


def test_the_page_has_the_style_that_hides_what_cannot_work():
    for path in ("/dashboard", "/dashboard/studies/3"):
        assert f'href="{STYLE_PATH}"' in ask(path)[2].decode()
    status, headers, body, _ = ask(STYLE_PATH)
    assert status == "200 OK" and headers["Content-Type"] == "text/css"
    assert b"delete study" in body
    assert ask("/dashboard", "HEAD")[2] == b""


def test_all_else_goes_through_as_it_is():
    _, headers, body, _ = ask("/api/studies/3")
    assert headers["ETag"] == "x" and len(json.loads(body)["study_summaries"]) == len(STUDIES)
