import pytest

from kdopt.analysis import tables as module
from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.tables import Tables
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows
from tests.analysis.synthetic_many import combine_rows, federate_rows, many_campaign

MADE = [name for name in vars(module) if name.startswith(("tabulate_", "measure_", "find_"))]


@pytest.fixture
def counts(monkeypatch):
    """How often each table was made."""
    calls = dict.fromkeys(MADE, 0)

    def count(name, function):
        def counted(*args):
            calls[name] += 1
            return function(*args)

        return counted

    for name in MADE:
        monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    return calls


def test_no_table_is_made_before_it_is_read(counts):
    campaign = compare_campaign(participants=3)
    tables = Tables(make_rows(campaign) + compare_rows(campaign), campaign)
    assert not any(counts.values())
    assert len(tables.participants)
    assert not any(counts.values())


def test_each_table_is_made_once_however_many_read_it(counts):
    campaign = many_campaign(stages=("tune", "compare", "combine", "federate"))
    rows = make_rows(campaign) + compare_rows(campaign) + combine_rows(campaign)
    rows += federate_rows(campaign, lambda *_: range(20, 80, 5))
    tables = Tables(rows, campaign)
    first, second = judge_claims(tables), judge_claims(tables)
    assert [claim.verdict for claim in first] == [claim.verdict for claim in second]
    for name in ("best_settings", "method_gains", "combined", "reductions", "rounds_to_target"):
        assert getattr(tables, name) is getattr(tables, name)
    assert len(tables.costs) == 5
    assert max(counts.values()) == 1
    assert counts["tabulate_best_settings"] == counts["tabulate_combined"] == 1


def test_methods_stand_side_by_side_on_one_transfer_set():
    campaign = compare_campaign(participants=3)
    tables = Tables(make_rows(campaign) + compare_rows(campaign), campaign)
    own = tables.pivot_methods("student")
    assert set(own["transfer_set"]) == {"student"}
    assert len(own) == len(tables.best_settings)
    assert sorted(own["tuned"]) == sorted(tables.best_settings["test_gain"])
