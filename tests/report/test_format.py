import pytest

import kdopt.report.format as format_module
from kdopt.campaign.data_settings import DataSettings
from kdopt.report.format import (
    escape_latex,
    explain_draws,
    format_csv,
    format_exact,
    format_hours,
    format_points,
    format_ratio,
    format_seconds,
    format_signed,
    generate_csv,
    make_sort_key,
    name_classes,
    title_partitions,
)
from kdopt.shown import format_setting


@pytest.mark.parametrize(
    ("value", "text"), [(1.005, "1.00"), (-0.001, "0.00"), (12.0, "12.00"), (float("nan"), "")]
)
def test_points_have_two_decimals_and_no_negative_zero(value, text):
    assert format_points(value) == text


@pytest.mark.parametrize(
    ("value", "people", "file"),
    [
        (1.0, "1", "1"),
        (0.125, "0.125", "0.125"),
        (12.25, "12.25", "12.25"),
        (0.1 + 0.2, "0.3", "0.3"),
        (2.043776598844426, "2.04", "2.043776598844426"),
        (1234.5678901, "1235", "1234.5678901"),
        (float("nan"), "", ""),
    ],
)
def test_people_read_three_digits_of_a_drawn_setting_and_files_have_all(value, people, file):
    assert format_setting(value) == people
    assert format_exact(value) == file


def test_ratios_have_three_digits():
    ratios = (0.001111, 441.0, float("inf"), float("nan"))
    assert [format_ratio(v) for v in ratios] == ["0.00111", "441", "inf", ""]


def test_infinity_sorts_as_the_greatest_number():
    keys = [make_sort_key(v) for v in (float("-inf"), -1.0, 1e12, float("inf"))]
    assert keys == sorted(keys) and "inf" not in map(str, keys)
    assert make_sort_key(float("nan")) == ""


def test_latex_escapes_every_special_character():
    special = "\\{}$&#%_^~"
    assert escape_latex(special) == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}"
    )


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0, "0 s"), (99 / 3600, "99 s"), (0.05, "3 min"), (1.5, "90 min"), (2, "2 h"), (345, "345 h")],
)
def test_times_are_said_as_people_do(hours, text):
    assert format_hours(hours) == text


def test_signs_are_shown_and_never_of_a_rounded_zero():
    assert [format_signed(v) for v in (1.234, -0.001, -2)] == ["+1.23", "0.00", "-2.00"]


def test_published_files_have_published_names():
    assert name_classes(DataSettings("fashion_mnist"), 10)[:2] == ["t-shirt", "trouser"]
    assert len(name_classes(DataSettings("cifar10"), 10)) == 10
    assert name_classes(DataSettings("digits"), 10)[3] == "digit 3"


def test_a_users_own_files_have_numbers():
    own = DataSettings("fashion_mnist", checksum="none")
    assert name_classes(own, 10)[0] == "class 0"
    assert name_classes(DataSettings("folder"), 2) == ["class 0", "class 1"]
    assert name_classes(DataSettings("fashion_mnist"), 3)[0] == "class 0"


def test_no_duration_is_shown_as_0_that_is_not():
    assert [format_seconds(x) for x in (0.0, 0.00042, 0.07, 12.0)] == [
        "0.00", "0.00042", "0.07", "12.00",
    ]  # fmt: skip


def test_a_csv_file_in_parts_is_the_same_file(monkeypatch):
    lines = [["=1+1", number, 0.1 * number, None] for number in range(7)]
    whole = format_csv(["text", "n", "x", "none"], lines)
    monkeypatch.setattr(format_module, "CSV_LINES", 3)
    parts = list(generate_csv(["text", "n", "x", "none"], iter(lines)))
    assert [part.count("\n") for part in parts] == [3, 3, 2]
    assert "".join(parts) == whole


def test_draws_of_a_partition_are_told_apart_from_all_of_them():
    drawn = ["uniform", "uniform-2", "uniform-10", "label_chunks"]
    assert list(title_partitions(drawn).values()) == [
        *("Uniform, draw 1", "Uniform, draw 2", "Uniform, draw 10", "Label chunks"),
    ]
    assert title_partitions(["uniform", "label_chunks"])["uniform"] == "Uniform"
    assert '"Uniform" alone means all draws together' in explain_draws(drawn)
    assert not explain_draws(["uniform", "label_chunks"])
