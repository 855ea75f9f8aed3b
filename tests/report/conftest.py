"""Pages that several tests visit, each written once."""

from __future__ import annotations

import pytest

from kdopt.campaign.record import SettingLine
from kdopt.features.measurements import PartitionMeasurements
from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import compare_campaign, compare_rows, large_campaign, make_rows
from tests.report.many_synthetic import many_campaign, many_rows


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    campaign = large_campaign()
    folder = tmp_path_factory.mktemp("report")
    settings = [SettingLine("tune.t2_scale", "true", "paper, Eq. 2")]
    return write_report(folder, ReportData(campaign, make_rows(campaign), settings))[-1].as_uri()


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A campaign with every stage and measured sizes."""
    campaign = many_campaign(
        participants=6, stages=("tune", "compare", "combine", "federate"), replicates=2
    )
    rows = make_rows(campaign) + compare_rows(campaign) + many_rows(campaign)[30:]
    measurements = {
        p.name: PartitionMeasurements(((5, 0), (3, 9)) * 3) for p in campaign.partitions
    }
    folder = tmp_path_factory.mktemp("whole")
    return write_report(folder, ReportData(campaign, rows, measurements=measurements))[-1].as_uri()


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    campaign = compare_campaign(participants=6)
    rows = make_rows(campaign) + compare_rows(campaign)
    return write_report(tmp_path_factory.mktemp("comparison"), ReportData(campaign, rows))[
        -1
    ].as_uri()


@pytest.fixture(scope="session")
def many_teachers(tmp_path_factory):
    campaign = many_campaign(replicates=3)
    folder = tmp_path_factory.mktemp("many")
    return write_report(folder, ReportData(campaign, many_rows(campaign)))[-1].as_uri()
