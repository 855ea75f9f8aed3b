import csv
import io
import random
from dataclasses import replace

import pandas as pd
import pytest

from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import WEIGHTINGS, CombineSettings
from kdopt.report.format import format_frame
from kdopt.report.sections.federated import ROUND_COUNTS
from kdopt.report.sections.many_teachers import (
    format_many_files,
)
from kdopt.report.sections.table_two_files import format_combined_latex, format_combined_markdown
from tests.analysis.synthetic import FIVE
from tests.report.many_synthetic import ROUNDS, many_campaign, many_rows


@pytest.fixture(scope="module", params=[1, 3])
def campaign(request):
    return many_campaign(replicates=request.param)


def texts(campaign, rows=None):
    rows = many_rows(campaign) if rows is None else rows
    return format_many_files(Tables(rows, campaign))


def body(latex):
    return latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()


def test_there_is_a_file_for_everything_that_has_data():
    names = {"combine": ["combined.csv", "combined.md", "combined.tex"],
             "federate": ["federated_curves.csv", "rounds_to_target.csv"]}  # fmt: skip
    for stage, expected in names.items():
        assert list(texts(many_campaign(stages=(stage,)))) == expected
    assert list(texts(many_campaign())) == [*names["combine"], *names["federate"]]
    assert texts(many_campaign(), []) == {}


def test_shuffled_rows_give_the_same_bytes(campaign):
    rows = many_rows(campaign)
    assert texts(campaign, random.Random(1).sample(rows, len(rows))) == texts(campaign, rows)


def test_every_text_ends_with_one_newline_and_has_no_nan(campaign):
    for text in texts(campaign).values():
        assert text.endswith("\n") and not text.endswith("\n\n") and "\r" not in text
        assert "nan" not in text.lower()


def test_writing_what_was_read_gives_the_same_bytes(campaign):
    for name, text in texts(campaign).items():
        if name.endswith(".csv"):
            short = ROUND_COUNTS if name == "rounds_to_target.csv" else ()
            assert format_frame(pd.read_csv(io.StringIO(text)), short) == text


def test_curves_have_every_round_and_rounds_are_counts(campaign):
    found = texts(campaign)
    curves = list(csv.DictReader(io.StringIO(found["federated_curves.csv"])))
    assert len(curves) == len(FIVE) * 2 * campaign.replicates * (ROUNDS + 1)
    for line in csv.DictReader(io.StringIO(found["rounds_to_target.csv"])):
        assert line["rounds"] == str(ROUNDS)
        assert line["rounds_random"] == "" or line["rounds_random"].isdigit()
        assert (line["rounds_random"] == "") == (line["bound"] in ("at least", "unknown"))


@pytest.mark.parametrize("weightings", [("equal", "better_share"), WEIGHTINGS, ("equal",)])
def test_table_ii_has_as_many_cells_in_every_line(weightings):
    campaign = many_campaign(combine=CombineSettings(weightings=weightings))
    found = texts(campaign)
    columns = 1 + 5 * len(weightings)
    table = [line for line in found["combined.md"].splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {columns + 1}
    assert len(table) == 2 + 2 * len(FIVE)
    assert {line.count("&") for line in body(found["combined.tex"])} == {columns - 1}
    assert len(body(found["combined.tex"])) == 2 * len(FIVE)
    assert rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}" in found["combined.tex"]


def test_headings_over_columns_span_all_of_them(campaign):
    latex = texts(campaign)["combined.tex"]
    spans = [line for line in latex.splitlines() if r"\multicolumn" in line]
    assert spans[0].startswith(r" & \multicolumn{6}{c}{Public unlabeled (large)}")
    assert spans[0].count(r"\multicolumn{4}{c}") == 1
    assert spans[1].count(r"\multicolumn{2}{c}") == 5
    assert r"\cmidrule(lr){2-7}\cmidrule(lr){8-11}" in latex


def test_the_better_number_is_bold_and_the_spread_is_shown_where_there_is_one(campaign):
    found = texts(campaign)
    spread = campaign.replicates > 1
    assert (r"$\pm$ 0.40" in found["combined.tex"]) == spread
    assert ("\N{PLUS-MINUS SIGN} 0.40" in found["combined.md"]) == spread
    assert found["combined.tex"].count(r"\textbf{") == 5 * len(FIVE)
    assert found["combined.md"].count("**") == 2 * 5 * len(FIVE)
    assert "| Uniform (paper) | 71.64 | 72.36 |" in found["combined.md"]


def test_names_are_escaped():
    campaign = many_campaign(name="a_b|<i>&", partitions=many_campaign().partitions[:1])
    rows = [replace(r, partition="x_y&<b>|") for r in many_rows(campaign)]
    table = Tables(rows, campaign).combined
    markdown, latex = (
        format_combined_markdown(table, campaign),
        format_combined_latex(table, campaign),
    )
    assert r"a\_b\|\<i>&" in markdown and r"| X y&\<b>\| |" in markdown
    assert r"a\_b|\textless{}i\textgreater{}\&" in latex
    assert r"X y\&\textless{}b\textgreater{}| &" in latex
    assert "(paper)" not in markdown + latex
