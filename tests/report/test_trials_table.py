import csv
import importlib.util
import io
import json
import random

import pandas as pd

from kdopt.analysis.results import tabulate_trials
from kdopt.report import export
from kdopt.report.export import format_trials_csv, make_trials_parquet
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    tune_row,
)
from tests.report.many_synthetic import many_campaign, many_rows


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


def test_the_csv_leaves_no_row_out_and_floats_and_lists_read_back_exactly():
    rows = every_kind_of_row()
    text = format_trials_csv(tabulate_trials(rows))
    header = text.partition("\n")[0].split(",")
    assert len(header) == len(set(header))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(rows)
    by_key = {(line["study"], int(line["number"])): line for line in lines}
    for row in rows:
        line = by_key[row.study, row.number]
        assert line["state"] == row.state
        assert line["error"] == (row.error or "")
        if row.outcome:
            assert float(line["value"]) == row.outcome.value
            assert float(line["test_accuracy"]) == row.outcome.test.accuracy
            assert json.loads(line["test_per_class"]) == list(row.outcome.test.per_class)


def test_the_order_of_rows_does_not_show():
    rows = every_kind_of_row()
    shuffled = random.Random(0).sample(rows, len(rows))
    assert format_trials_csv(tabulate_trials(shuffled)) == format_trials_csv(tabulate_trials(rows))
    assert make_trials_parquet(tabulate_trials(shuffled)) == make_trials_parquet(
        tabulate_trials(rows)
    )


def test_parquet_holds_what_the_columns_hold():
    columns = tabulate_trials(every_kind_of_row())
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


def test_a_column_whose_values_differ_in_kind_is_text():
    campaign = make_campaign()
    rows = [tune_row(campaign, (0, 1), {"alpha": value}, n) for n, value in enumerate([0.5, "x"])]
    frame = pd.read_parquet(io.BytesIO(make_trials_parquet(tabulate_trials(rows))))
    assert frame["alpha"].tolist() == ["0.5", "x"]


def test_without_pyarrow_there_is_no_parquet(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda n: None if n == "pyarrow" else found(n)
    )
    assert make_trials_parquet(tabulate_trials(make_rows(make_campaign()))) is None
