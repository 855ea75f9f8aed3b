import base64
import csv
import gzip
import html
import io
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs_version

from kdopt.analysis.paper.claims import CLAIMS
from kdopt.analysis.paper.judging import CAVEAT, RULE
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.record import SettingLine
from kdopt.report.blocks import ReportData
from kdopt.report.page import (
    SECTIONS,
    list_figures,
    make_payload,
    make_sections,
    pack_payload,
    read_plotly_js,
    render_page,
)
from kdopt.report.sections.run import FAILURES_SHOWN, list_facts, make_run_section
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    pretrain_rows,
)
from tests.report.many_synthetic import many_campaign, many_rows

NASTY = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&'
SETTINGS = [
    SettingLine("tune.t2_scale", "true", "paper, Eq. 2"),
    SettingLine("name", NASTY, "spec"),
]


class Tags(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def page_of(campaign, rows):
    data = ReportData(campaign, rows, SETTINGS)
    return page_with(data, make_sections(data))


def page_with(data, sections):
    """The page without plotly's own source, which has web addresses in its text."""
    page = render_page(data, sections)
    plotly = read_plotly_js()
    assert page.count(plotly) == 1
    # Compiling it takes longer than all else, so it waits as text for the first figure.
    assert f'<script type="text/plain" id="plotly-js">{plotly}</script>' in page
    return page.replace(plotly, "")


@pytest.fixture(scope="module")
def complete():
    campaign = make_campaign()
    return page_of(campaign, make_rows(campaign))


@pytest.fixture(scope="module")
def all_stages():
    """A campaign with every stage, and what is shown of it."""
    campaign = many_campaign(stages=("tune", "compare", "combine", "federate"))
    rows = make_rows(campaign) + compare_rows(campaign) + many_rows(campaign)[20:]
    data = ReportData(campaign, rows, SETTINGS)
    return data, make_sections(data)


@pytest.fixture(scope="module")
def all_stages_page(all_stages):
    return page_with(*all_stages)


def test_the_bundled_plotly_speaks_the_language_of_the_installed_one():
    version = re.search(
        r"plotly\.js \(cartesian - minified\) v(\d+)\.", read_plotly_js()[:200]
    ).group(1)
    assert version == get_plotlyjs_version().split(".")[0]


def test_the_bundled_plotly_knows_every_kind_of_chart(all_stages):
    figures = make_payload(all_stages[0].campaign.name, all_stages[1])["figures"].values()
    kinds = {trace["type"] for figure in figures for trace in figure["data"]}
    assert {"scatter", "bar", "box"} <= kinds
    assert all(f'moduleType:"trace",name:"{kind}"' in read_plotly_js() for kind in kinds)


def test_nothing_is_loaded_from_anywhere(complete):
    assert not re.search(r"https?://", complete)
    for tag, attributes in Tags(complete).found:
        assert tag not in ("link", "iframe", "img", "object", "base")
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert attributes.get("href", "#").startswith("#")
    assert "default-src 'none'" in complete
    assert "url(" not in complete and "@import" not in complete


def test_nothing_from_a_spec_or_a_trial_breaks_out():
    campaign = make_campaign(name=NASTY, model=NASTY)
    rows = make_rows(campaign)
    rows[-1] = replace(rows[-1], state="FAIL", outcome=None, error=NASTY, partition=NASTY)
    page = page_of(campaign, rows)
    tags = [tag for tag, _ in Tags(page).found]
    assert tags.count("script") == 3
    assert "img" not in tags
    assert "alert(1)</script>" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_settings_are_written_one_way(all_stages_page, complete):
    for page in (all_stages_page, complete):
        assert re.search(r"\bT=\d", page)
        assert not re.search(r"\btemperature[ =]\d", page)


def test_the_data_is_json_without_a_closing_tag():
    campaign = make_campaign()
    rows = [replace(row, partition=NASTY) for row in make_rows(campaign)]
    page = page_of(campaign, rows)
    text = page.split('id="kdopt-data">')[1].split("</script>")[0]
    assert "<" not in text
    data = json.loads(text)
    # The campaign's own partition has no pair with a result, so only the other one has maps.
    assert len(data["figures"]) == 3 + 1
    assert data["figures"].keys() == data["files"].keys()
    assert f"{NASTY}/t00-s01" in data["pairs"]


def test_every_setting_is_shown_with_its_source(complete):
    cells = ("<code>tune.t2_scale</code>", "true", "paper, Eq. 2")
    assert "".join(f'<td class="w">{cell}</td>' for cell in cells) in complete


def test_a_complete_campaign_says_so(complete):
    assert "All planned trials are complete." in complete
    assert "incomplete" not in complete.split("<script")[0]


def test_an_incomplete_campaign_says_what_is_missing():
    campaign = make_campaign()
    rows = make_rows(campaign)[:-3]
    rows[-1] = replace(rows[-1], state="FAIL", outcome=None, error="loss is NaN in epoch 2")
    page = page_of(campaign, rows)
    assert "This campaign is incomplete:" in page
    assert "3 trials missing, 1 failed" in page
    assert "loss is NaN in epoch 2" in page


@pytest.mark.parametrize("sampler", ["grid", "sequential", "tpe"])
def test_a_campaign_that_has_only_begun_has_a_page(sampler):
    campaign = make_campaign(tune_sampler=sampler)
    assert "This campaign is incomplete" in page_of(campaign, [])
    assert "not known" in page_of(campaign, pretrain_rows(campaign))


def test_selection_on_test_is_said():
    campaign = make_campaign(select_on="test")
    page = page_of(campaign, make_rows(campaign))
    assert "selected on test (optimistic)" in page
    assert "selected on validation" not in page


def test_the_page_does_not_depend_on_the_order_of_rows():
    for campaign in (make_campaign(), compare_campaign(participants=3)):
        rows = make_rows(campaign)
        rows += compare_rows(campaign) if "compare" in campaign.stages else []
        shuffled = random.Random(0).sample(rows, len(rows))
        assert page_of(campaign, shuffled) == page_of(campaign, rows)


def test_a_campaign_without_tuning_has_a_page_that_says_so():
    campaign = compare_campaign(participants=3, stages=("compare",))
    page = page_of(campaign, pretrain_rows(campaign) + compare_rows(campaign))
    assert 'No tuning: add "tune" to stages and run again.' in html.unescape(page)
    assert not re.search(r"<td[^>]*>undecided</td>", page)  # no pair is listed as to come
    assert "All planned trials are complete." in page
    assert "<tr><th>compare</th><td>360</td><td>360</td>" in page


@pytest.mark.parametrize(
    ("stages", "sections"),
    [
        (("tune",), ["short", "pairs", "maps", "advice", "run", "claims"]),
        (("compare",), ["short", "pairs", "methods", "advice", "run", "claims"]),
        (("combine",), ["short", "many", "run", "claims"]),
        (("federate",), ["short", "many", "run", "claims"]),
    ],
)
def test_stages_that_were_not_asked_for_have_no_section_but_one_line(stages, sections):
    campaign = many_campaign(stages=stages)
    data = ReportData(campaign, [])
    made = make_sections(data)
    assert [section.id for section in made] == sections
    absent = {"tune", "compare", "combine", "federate"} - set(stages)
    line = list_facts(data)["Not asked for"]
    assert {stage for stage in absent if f'"{stage}"' in line} == absent
    assert "add to stages and run again" in line
    assert "Set replicates = 3 and run again" in page_with(data, made)


def test_many_teachers_have_their_section():
    campaign = many_campaign()
    page = html.unescape(page_of(campaign, many_rows(campaign)))
    assert "Methods compared</h2>" not in page
    assert "All participants of a partition distilled into one model. Federated" in page
    assert "temperature and alpha of every teacher-student pair" not in page
    sections = {part.partition('"')[0]: part for part in page.split('<section id="')}
    assert "No data" not in sections["short"] + sections["many"]
    assert sections["short"].count("<p") == 1
    assert "Noise floor" in sections["run"]


def test_a_section_is_there_for_what_only_the_store_has():
    campaign = make_campaign()
    for stage in ("combine", "federate"):
        rows = many_rows(many_campaign(stages=(stage,)))
        assert "many" in [s.id for s in make_sections(ReportData(campaign, rows))]


def test_a_campaign_with_all_stages_has_all_sections(all_stages_page):
    page = all_stages_page
    assert page.count("<h3>Noise floor</h3>") == 1
    assert page.index("Learning and forgetting") < page.index("Rounds to a target accuracy")
    assert "No data" not in page.split('<section id="many"')[1].split("<section")[0]


def test_nothing_from_a_combining_trial_breaks_out():
    campaign = many_campaign(name=NASTY)
    rows = [
        replace(
            row, partition=NASTY, params=row.params | {k: NASTY for k in row.params if k == "start"}
        )
        for row in many_rows(campaign)
        if row.partition == "uniform"
    ]
    page = page_of(campaign, rows)
    tags = [tag for tag, _ in Tags(page).found]
    assert tags.count("script") == 3
    assert "img" not in tags
    text = page.split('id="kdopt-data">')[1].split("</script>")[0]
    figures = json.loads(text)["figures"]
    assert {"many-combined", "many-federated"} <= figures.keys()
    assert "<script" not in json.dumps(figures).lower()


def test_the_rule_of_the_verdicts_is_on_the_page(complete):
    text = html.unescape(complete)
    assert RULE in text and CAVEAT in text
    assert len(re.findall(r">C\d+</th>", complete)) == len(CLAIMS)


def test_the_contents_lead_to_every_section(complete):
    tags = Tags(complete).found
    links = [attributes["href"][1:] for tag, attributes in tags if tag == "a"]
    sections = [attributes["id"] for tag, attributes in tags if tag == "section"]
    assert [link for link in links if not link.startswith("pair=")] == [
        *("main", "pairs"),  # to skip to
        *sections,
    ]
    assert sections[:3] == ["short", "pairs", "maps"]


def test_every_figure_and_every_filtered_table_has_its_place_once(all_stages_page):
    page = all_stages_page
    tags = Tags(page).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    text = page.split('id="kdopt-data">')[1].split("</script>")[0]
    data = json.loads(text)
    plots = {a["id"] for _, a in tags if "plot" in (a.get("class") or "").split()}
    assert plots == {*data["figures"], "surface", "classes", "history"}
    assert {sheet for _, sheet in data["files"].values()} == set(range(len(data["sheets"])))


def test_the_colours_of_all_figures_are_those_that_colour_blind_readers_tell_apart(all_stages):
    """Okabe and Ito's (Color Universal Design, 2008), greys, and near white."""
    safe = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    payload = make_payload(all_stages[0].campaign.name, all_stages[1])
    used = set(
        re.findall(r"#[0-9A-Fa-f]{6}\b", json.dumps([payload["figures"], payload["methods"]]))
    )
    greys = {c for c in used if c[1:3] == c[3:5] == c[5:7]}
    assert used - greys <= safe
    assert len(used & safe) >= 5


@pytest.mark.parametrize("sampler", ["grid", "sequential", "tpe"])
@pytest.mark.parametrize("stages", [("tune",), ("compare",), ("tune", "compare")])
def test_any_part_of_any_campaign_has_a_page(sampler, stages):
    campaign = compare_campaign(
        participants=2,
        replicates=2,
        stages=stages,
        tune_sampler=sampler,
        partitions=(PartitionSettings("uniform"), PartitionSettings("specialized")),
    )
    rows = make_rows(campaign) + compare_rows(campaign)
    for some in ([], pretrain_rows(campaign), rows[4:], rows[::5]):
        page_of(campaign, some)


def test_at_most_fifty_failures_are_listed_and_the_rest_counted():
    campaign = make_campaign(participants=5)
    failed = [
        replace(row, state="FAIL", outcome=None, error="NaN loss") if row.stage == "tune" else row
        for row in make_rows(campaign)
    ]
    values = make_run_section(ReportData(campaign, failed)).blocks[0].values
    assert len(values["failures"]) == FAILURES_SHOWN == 50
    assert values["failures_left_out"] == 20 * 9 - 50


def test_every_figure_has_its_numbers_and_figures_of_one_table_share_them():
    partitions = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
    campaign = make_campaign(partitions=partitions)
    data = ReportData(campaign, make_rows(campaign))
    sections = make_sections(data)
    payload = make_payload(data.campaign.name, sections)
    figures = [figure.id for figure in list_figures(sections)]
    assert list(payload["files"]) == list(payload["figures"]) == figures
    names = [name for name, _ in payload["files"].values()]
    assert len(names) == len(set(names))
    maps = {payload["files"][f"map-1-{key}"][1] for key in ("alpha", "temperature", "gain")}
    assert len(maps) == 1
    lines = list(csv.DictReader(io.StringIO(payload["sheets"][maps.pop()])))
    best = data.best_settings[data.best_settings["partition"] == "label_dirichlet"]
    assert [float(line["alpha"]) for line in lines] == best["alpha"].tolist()
    assert [float(line["test_gain_pp"]) for line in lines] == pytest.approx(
        best["test_gain"].tolist(), abs=0.0051
    )
    json.dumps(payload, allow_nan=False)


def test_sections_stand_in_one_order_and_bring_their_files():
    campaign = compare_campaign(participants=3)
    sections = make_sections(ReportData(campaign, make_rows(campaign)))
    order = ["short", "pairs", "maps", "methods", "advice", "run", "claims"]
    assert [section.id for section in sections] == order
    assert [section.id for section in sections if section.folded] == ["claims"]
    assert len(SECTIONS) == len(order) + 2  # no stage of many teachers, no other tuned method
    files = [name for section in sections for name in section.files]
    assert files == [
        *("verdicts.csv", "best_settings.csv", "best_settings.md", "best_settings.tex"),
        *("advice.txt", "claims.csv", "claims.md"),
    ]


def test_large_data_are_packed_and_the_same(all_stages, monkeypatch):
    payload = make_payload(all_stages[0].campaign.name, all_stages[1])
    assert pack_payload(payload) == ""
    monkeypatch.setattr("kdopt.report.page.PACKED_FROM", 0)
    packed = pack_payload(payload)
    assert packed == pack_payload(payload)
    content = gzip.decompress(base64.b64decode(packed))
    assert json.loads(content) == json.loads(json.dumps(payload))
    page = page_with(*all_stages)
    assert f'<script type="application/gzip;base64" id="kdopt-data">{packed}</script>' in page
    assert len(packed) < len(content) / 3
