import csv
import html
import io
import json
import re

import pytest

from kdopt.analysis.agreement import ComparisonTables
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.record import CampaignRecord, SettingLine
from kdopt.errors import ComparisonError
from kdopt.report.export import make_compared_campaign, write_comparison
from kdopt.report.page import read_plotly_js
from kdopt.report.sections.comparison import make_comparison_sections
from tests.analysis.synthetic import make_campaign, make_rows, pretrain_rows, validation_surface

NASTY = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
BOTH = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
FILES = [
    "headlines.csv",
    "best_settings.csv",
    "agreement.csv",
    "findings.csv",
    "settings_differences.csv",
    "comparison.md",
    "report.html",
]


def compared(label, rows=None, splits=None, **changes):
    campaign = make_campaign(name=label, **{"participants": 4, "partitions": BOTH} | changes)
    lines = (
        SettingLine("name", label, "spec"),
        SettingLine("seed", str(campaign.seed), "spec"),
        SettingLine("tune.t2_scale", str(campaign.tune.t2_scale).lower(), "default"),
    )
    splits = splits or {"uniform": "1" * 64, "label_dirichlet": "2" * 64}
    record = CampaignRecord(campaign, lines, "f" * 64, splits)
    return make_compared_campaign(label, record, (rows or make_rows)(campaign))


def turned(campaign):
    return make_rows(
        campaign,
        lambda gap, t, a: validation_surface(-gap, t, a),
        lambda gap, t, a: validation_surface(-gap, t, a),
    )


@pytest.fixture
def three():
    return [
        compared("first"),
        compared("turned", turned, {"uniform": "1" * 64, "label_dirichlet": "3" * 64}, seed=8),
        compared("no-t2", tune_t2_scale=False),
    ]


def page_of(folder, campaigns):
    text = write_comparison(folder, campaigns)[-1].read_text()
    return text.replace(read_plotly_js(), "")


def lines_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_comparison_is_these_files_and_nothing_else(tmp_path, three):
    paths = write_comparison(tmp_path / "new", three)
    assert [p.name for p in paths] == FILES
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(FILES)
    first = [p.read_bytes() for p in paths]
    write_comparison(tmp_path / "new", three)
    assert [p.read_bytes() for p in paths] == first


def test_the_files_hold_what_the_tables_hold(tmp_path, three):
    write_comparison(tmp_path, three)
    agreement = lines_of(tmp_path / "agreement.csv")
    assert len(agreement) == 3 * 3
    assert {line["same_images"] for line in agreement} == {"true", "false"}
    best = lines_of(tmp_path / "best_settings.csv")
    assert len(best) == 3 * 24
    assert list(best[0])[:4] == ["campaign", "partition", "pair", "teacher"]
    differences = lines_of(tmp_path / "settings_differences.csv")
    assert {"key": "seed", "first": "7", "turned": "8", "no-t2": "7"} in differences
    assert {line["key"] for line in differences} == {
        "seed",
        "tune.t2_scale",
        "shares of label_dirichlet (fingerprint)",
    }


def test_versions_and_devices_are_compared(three):
    assert three[0].settings["version of torch"] == "2.6"
    assert three[0].settings["ran on"] == "cpu (fp32)"
    assert "name" not in three[0].settings


def figures_of(campaigns):
    sections = make_comparison_sections(ComparisonTables(campaigns))
    figures = [figure for section in sections for figure in section.list_figures()]
    assert [figure.id for figure in figures] == ["joined-maps", "maps-sheet"]
    return [figure.figure for figure in figures]


def test_one_sheet_has_the_partitions_of_all_campaigns_those_of_one_below_each_other(three):
    sheet = figures_of(three)[1]
    titles = [
        axis["title"]["text"].split("</b>")[0].removeprefix("<b>")
        for key, axis in sheet["layout"].items()
        if key.startswith("yaxis") and "<b>" in axis.get("title", {}).get("text", "")
    ]
    labels = [campaign.label for campaign in three]
    assert titles == [f"{p}<br>{label}" for p in ("Uniform", "Label dirichlet") for label in labels]


def test_one_figure_has_all_campaigns_and_partitions(three):
    traces = figures_of(three)[0]["data"]
    assert len(traces) == 4 * 3 * 2  # maps, campaigns, partitions
    assert {trace["meta"] for trace in traces} == {"uniform", "label_dirichlet"}
    assert sum(trace["showlegend"] for trace in traces) == 3
    styles = {(t["name"], t["marker"]["color"], t["marker"]["symbol"]) for t in traces}
    assert len(styles) == 3
    assert all(len(trace["x"]) == len(trace["y"]) == 12 for trace in traces)


def test_weights_that_a_logarithmic_axis_cannot_show_are_left_out():
    ends = {"tune_alphas": (0.0, 1.0)}

    def rows(best_alpha):
        surface = lambda gap, t, a: 1.0 + (a == best_alpha)  # noqa: E731
        return lambda campaign: make_rows(campaign, surface, surface)

    campaigns = [compared("labels", rows(0.0), **ends), compared("teacher", rows(1.0), **ends)]
    sections = make_comparison_sections(ComparisonTables(campaigns))
    figure = sections[1].blocks[0].figure.figure
    assert len(figure["data"]) == 3 * 2 * 2  # nothing is left for the map of weights
    json.dumps(figure, allow_nan=False)


def test_the_page_says_how_far_each_two_campaigns_agree(tmp_path, three):
    page = html.unescape(page_of(tmp_path, three))
    for couple in ("first and turned", "first and no-t2", "turned and no-t2"):
        assert f"<h3>{couple}</h3>" in page
    assert "Of 24 shared pairs the best T is the same in 100 %" in page
    assert page.count("other images in label_dirichlet: there a number stands for another") == 2
    assert "other images in uniform" not in page


def test_the_page_has_a_choice_of_partition_only_where_there_are_several(tmp_path, three):
    assert '<select data-figure="joined-maps">' in page_of(tmp_path / "two", three)
    one = [compared(name, partitions=BOTH[:1]) for name in ("a", "b")]
    assert "<select" not in page_of(tmp_path / "one", one)


def test_a_page_without_pairs_to_choose_has_no_script_for_them(tmp_path, three):
    page = page_of(tmp_path, three)
    assert "const startPairs = () => {};" in page
    assert 'getElementById("pair")' not in page


def test_campaigns_that_have_only_begun_have_a_page(tmp_path):
    page = html.unescape(page_of(tmp_path, [compared("a"), compared("b", pretrain_rows)]))
    assert "No data yet: no shared pair has a result in both." in page
    nothing = [compared(name, pretrain_rows) for name in ("a", "b")]
    assert "No data yet: no pair has a best setting." in html.unescape(
        page_of(tmp_path / "nothing", nothing)
    )


def test_campaigns_of_the_same_settings_say_that_nothing_differs(tmp_path):
    page = page_of(tmp_path, [compared("a"), compared("b")])
    assert "Nothing differs" in page


def test_findings_are_set_side_by_side(tmp_path, three):
    page = html.unescape(page_of(tmp_path, three))
    assert "<h3>first (seed = 7) agrees with turned (seed = 8).</h3>" in page
    assert "<h3>first (tune.t2_scale = true) agrees with no-t2 (tune.t2_scale = false)." in page
    lines = lines_of(tmp_path / "findings.csv")
    assert {line["first"] for line in lines} == {"first", "turned"}
    assert all(line["agreement"] in ("undecided", "no data") for line in lines)  # 4 participants


def test_campaigns_that_share_nothing_leave_no_file(tmp_path):
    other = compared("b", partitions=(PartitionSettings("specialized"),))
    with pytest.raises(ComparisonError, match="shares no pair with 'b'"):
        write_comparison(tmp_path / "new", [compared("a"), other])
    assert not (tmp_path / "new").exists()


def test_nothing_from_a_name_breaks_out(tmp_path):
    campaigns = [
        compared(name, partitions=(PartitionSettings(NASTY),), splits={NASTY: "1"})
        for name in ("a", NASTY)
    ]
    page = page_of(tmp_path, campaigns)
    assert "alert(1)</script>" not in page and "<img" not in page
    data = page.split('id="kdopt-data">')[1].split("</script>")[0]
    assert "<" not in data
    names = {t["name"] for t in json.loads(data)["figures"]["joined-maps"]["data"]}
    assert all("<" not in name for name in names)  # plotly reads some tags


def test_markdown_tables_have_as_many_cells_in_every_line(tmp_path, three):
    write_comparison(tmp_path, three)
    text = (tmp_path / "comparison.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_a_reader_chooses_a_partition_and_sees_its_points(visit, tmp_path, three):
    page = visit(write_comparison(tmp_path, three)[-1].as_uri())
    page.evaluate("document.getElementById('joined-maps').scrollIntoView()")
    page.wait_for_selector("#joined-maps .main-svg", state="attached")
    points = page.locator("#joined-maps .scatterlayer .point")
    assert points.count() == 3 * 4 * 2 * 12
    page.select_option("select[data-figure]", "label_dirichlet")
    assert points.count() == 3 * 4 * 12
    assert page.locator("#joined-maps .legendtext").count() == 3
    page.select_option("select[data-figure]", "")
    assert points.count() == 3 * 4 * 2 * 12
    page.evaluate(
        "document.getElementById('joined-maps').emit('plotly_click', {points: [{}]})"
    )  # nothing to show: no error either
