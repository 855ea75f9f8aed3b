from kdopt.campaign.settings import PartitionSettings
from kdopt.report.blocks import ReportData
from kdopt.report.sections.best_settings import make_maps_section
from tests.analysis.synthetic import make_campaign, make_rows

TWO = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))


def test_every_partition_has_three_maps_of_its_own_pairs():
    campaign = make_campaign(partitions=TWO)
    part = make_maps_section(ReportData(campaign, make_rows(campaign)))
    assert [block.title for block in part.blocks] == ["Uniform", "Label dirichlet"]
    assert [len(block.small) for block in part.blocks] == [3, 3]
    assert len(part.list_figures()) == 6
    for item in part.list_figures():
        assert set(item.data["partition"]) == {"uniform" if "-0-" in item.id else "label_dirichlet"}
        points = [t for t in item.figure["data"] if t.get("visible") != "legendonly"]
        assert sum(len(t["x"]) for t in points) == len(item.data) * (2 if "gain" in item.id else 1)


def test_a_partition_without_a_result_has_no_empty_figure():
    campaign = make_campaign(partitions=TWO)
    rows = [row for row in make_rows(campaign) if row.partition == "uniform"]
    first, second = make_maps_section(ReportData(campaign, rows)).blocks
    assert first.small and not first.missing
    assert not second.small and "No data yet" in second.missing


def test_pairs_that_are_still_open_are_counted():
    campaign = make_campaign()
    rows = [row for row in make_rows(campaign) if not row.study.endswith("t00-s01")]
    block = make_maps_section(ReportData(campaign, rows)).blocks[0]
    assert block.small and block.missing == "1 of 6 pairs have no result yet."


def test_without_tuning_it_says_what_to_add():
    campaign = make_campaign(stages=("compare",))
    part = make_maps_section(ReportData(campaign, []))
    assert [b.missing for b in part.blocks] == ['No data: add "tune" to stages and run again.']
    assert not part.list_figures()
