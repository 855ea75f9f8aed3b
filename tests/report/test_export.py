import csv
import importlib.util
import io
import random
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from kdopt.campaign.record import SettingLine
from kdopt.errors import KdoptError
from kdopt.report import export
from kdopt.report.blocks import ReportData
from kdopt.report.export import (
    generate_classes_csv,
    generate_trials_csv,
    make_trials_parquet,
    name_trials,
    write_report,
)
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    pretrain_rows,
    tune_row,
)
from tests.report.many_synthetic import ALL_ALGORITHMS, many_campaign, many_rows

SETTINGS = [SettingLine("tune.t2_scale", "true", "paper, Eq. 2")]
DOCS = Path(__file__).parents[2] / "docs"
WITH_UNIT = re.compile("accuracy|gain|_gap|learning|forgetting|reduction|chance|_sd")
NUMBER = r"(-?\d+(\.\d+)?(e[-+]?\d+)?)?"
UNITS = ("_pp", "_percent", "_share")
ALWAYS = [
    *("claims.csv", "claims.md", "trials.csv", "trials_per_class.csv", "trials.parquet"),
    *("spec.toml", "report.html"),
]


def test_a_report_is_these_files_and_nothing_else(tmp_path):
    campaign = make_campaign()
    folder = tmp_path / "new" / "report"
    paths = write_report(folder, ReportData(campaign, make_rows(campaign), SETTINGS))
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in paths)
    assert [p.name for p in paths] == [
        "verdicts.csv",
        "best_settings.csv",
        "best_settings.md",
        "best_settings.tex",
        *ALWAYS,
    ]
    first = [p.read_bytes() for p in paths]
    write_report(folder, ReportData(campaign, make_rows(campaign), SETTINGS))
    assert [p.read_bytes() for p in paths] == first


def test_the_comparison_adds_its_table(tmp_path):
    campaign = compare_campaign(participants=3)
    both = write_report(
        tmp_path / "both", ReportData(campaign, make_rows(campaign) + compare_rows(campaign))
    )
    assert "method_gains.csv" in [p.name for p in both]
    alone = replace(campaign, stages=("compare",))
    rows = pretrain_rows(alone) + compare_rows(alone)
    names = [p.name for p in write_report(tmp_path / "alone", ReportData(alone, rows))]
    assert names == ["verdicts.csv", "method_gains.csv", "advice.txt", *ALWAYS]


def test_a_folder_that_cannot_be_written_is_named_with_a_fix(tmp_path):
    campaign = make_campaign()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KdoptError, match=r"file: is no folder.*name another with --out"):
        write_report(tmp_path / "file", ReportData(campaign, [], SETTINGS))


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    campaign = make_campaign()
    (tmp_path / "best_settings.csv").mkdir()
    with pytest.raises(KdoptError, match=r"best_settings\.csv"):
        write_report(tmp_path, ReportData(campaign, [], SETTINGS))
    assert [p.name for p in tmp_path.iterdir()] == ["best_settings.csv"]


def test_many_teachers_add_their_files(tmp_path):
    campaign = many_campaign()
    paths = write_report(tmp_path, ReportData(campaign, many_rows(campaign), SETTINGS))
    assert [p.name for p in paths] == [
        "combined.csv",
        "combined.md",
        "combined.tex",
        "federated_curves.csv",
        "rounds_to_target.csv",
        *ALWAYS,
    ]


def test_trials_are_the_same_in_csv_and_parquet(tmp_path):
    campaign = make_campaign()
    rows = make_rows(campaign)
    write_report(tmp_path, ReportData(campaign, rows, SETTINGS))
    one = pd.read_csv(tmp_path / "trials.csv")
    other = pd.read_parquet(tmp_path / "trials.parquet")
    assert len(one) == len(other) == len(rows)
    assert one["test_gain_pp"].equals(other["test_gain_pp"])


def test_the_resolved_spec_is_toml(tmp_path):
    campaign = make_campaign()
    write_report(tmp_path, ReportData(campaign, [], SETTINGS))
    found = tomllib.loads((tmp_path / "spec.toml").read_text())
    assert found == {"tune": {"t2_scale": True}}


def every_kind_of_row():
    campaign = compare_campaign(participants=3)
    many = many_campaign(participants=3)
    return [
        *make_rows(campaign),
        *compare_rows(campaign),
        *many_rows(many),
        tune_row(campaign, (0, 1), {}, 98),
        tune_row(campaign, (0, 1), {"temperature": 0.1, "alpha": 0.5}, 99, error='NaN,\n"x"'),
    ]


def test_the_csv_leaves_no_row_out_and_floats_read_back_exactly():
    rows = every_kind_of_row()
    text = "".join(generate_trials_csv(name_trials(rows)))
    header = text.partition("\n")[0].split(",")
    assert len(header) == len(set(header))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(rows)
    by_key = {(line["study"], int(line["number"])): line for line in lines}
    for row in rows:
        line = by_key[row.study, row.number]
        assert line["state"] == row.state
        assert line["error"] == (row.error or "")
        assert line["pair"] == (row.pair.label if row.pair else "")
        assert not any(text.startswith(("[", "{")) for text in line.values())
        if row.outcome:
            assert float(line["objective"]) == row.outcome.value
            assert float(line["test_accuracy_percent"]) == 100 * row.outcome.test.accuracy


def test_accuracies_by_class_have_a_line_per_trial_and_class():
    rows = every_kind_of_row()
    text = "".join(generate_classes_csv(name_trials(rows)))
    lines = list(csv.DictReader(io.StringIO(text)))
    done = [row.outcome for row in rows if row.outcome]
    assert len(lines) == sum(len(outcome.test.per_class) for outcome in done)
    row = next(row for row in rows if row.outcome and row.pair)
    mine = [x for x in lines if (x["study"], x["number"]) == (row.study, str(row.number))]
    assert [x["class"] for x in mine] == [str(n) for n in range(len(mine))]
    shares = row.outcome.test.per_class
    assert [x["test_per_class_percent"] for x in mine] == [
        "" if share is None else str(100 * share) for share in shares
    ]


def test_the_order_of_rows_does_not_show():
    rows = every_kind_of_row()
    shuffled = random.Random(0).sample(rows, len(rows))
    one, other = (list(generate_trials_csv(name_trials(some))) for some in (shuffled, rows))
    assert one == other
    assert make_trials_parquet(name_trials(shuffled)) == make_trials_parquet(name_trials(rows))


def test_parquet_holds_what_the_columns_hold():
    columns = name_trials(every_kind_of_row())
    frame = pd.read_parquet(io.BytesIO(make_trials_parquet(columns)))
    assert list(frame.columns) == list(columns)
    for key, column in columns.items():
        for found, wanted in zip(frame[key], column, strict=True):
            if isinstance(wanted, tuple):
                assert [None if pd.isna(v) else v for v in found] == list(wanted), key
            elif wanted is None:
                assert pd.isna(found), key
            else:
                assert found == wanted, key


def test_every_column_is_in_the_docs_and_says_its_unit(tmp_path):
    stages = ("tune", "compare", "combine", "federate")
    campaign = many_campaign(stages=stages, federate=ALL_ALGORITHMS)
    rows = make_rows(campaign) + compare_rows(campaign) + many_rows(campaign)[20:]
    paths = write_report(tmp_path, ReportData(campaign, rows, SETTINGS))
    described = (DOCS / "dashboard-and-report.md").read_text("utf-8").partition("## Columns")[2]
    files = {path.name: path.read_text("utf-8") for path in paths if path.suffix == ".csv"}
    assert len(files) == 11
    for name, text in files.items():
        header = next(csv.reader(io.StringIO(text)))
        header = [re.sub("^version_.*", "version_kdopt", column) for column in header]
        assert [c for c in header if f"| `{c}` |" not in described] == [], name
        assert "pair" in header or not {"teacher", "student"} & set(header), name
        assert [c for c in header if WITH_UNIT.search(c) and not c.endswith(UNITS)] == [], name
        assert not any(cell.startswith(("[", "{")) for cell in text.split(",")), name
        cells = [item for line in csv.DictReader(io.StringIO(text)) for item in line.items()]
        words = [c for c in cells if c[0].endswith(UNITS) and not re.fullmatch(NUMBER, c[1])]
        assert words == [], name


def test_headings_of_markdown_and_latex_stand_for_one_column_of_the_csv_file_each(tmp_path):
    described = (DOCS / "dashboard-and-report.md").read_text("utf-8").partition("## Columns")[2]
    names = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", described, re.MULTILINE))
    headings = [heading for heading in names.values() if heading]
    assert len(headings) == len(set(headings)) > 20
    campaign = make_campaign()
    write_report(tmp_path, ReportData(campaign, make_rows(campaign), SETTINGS))
    texts = {end: (tmp_path / f"best_settings.{end}").read_text("utf-8") for end in ("md", "tex")}
    head = texts["tex"].split("\\midrule")[0].split("\\toprule")[1].strip().removesuffix(r" \\")
    shown = {
        "md": texts["md"].splitlines()[2].strip("| ").split(" | "),
        "tex": head.replace("$T$", "T").replace(r"$\alpha$", "alpha").split(" & "),
    }
    columns = (tmp_path / "best_settings.csv").read_text("utf-8").splitlines()[0].split(",")
    by_heading = {heading: name for name, heading in names.items() if heading}
    for kind, found in shown.items():
        assert [h for h in found if by_heading.get(h) not in columns] == [], kind


def test_a_column_whose_values_differ_in_kind_is_text():
    campaign = make_campaign()
    rows = [tune_row(campaign, (0, 1), {"alpha": value}, n) for n, value in enumerate([0.5, "x"])]
    frame = pd.read_parquet(io.BytesIO(make_trials_parquet(name_trials(rows))))
    assert frame["alpha"].tolist() == ["0.5", "x"]


def test_without_pyarrow_there_is_no_parquet(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda n: None if n == "pyarrow" else found(n)
    )
    assert make_trials_parquet(name_trials(make_rows(make_campaign()))) is None
