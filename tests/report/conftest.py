"""Pages that several tests visit, each written once."""

from __future__ import annotations

import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.record import SettingLine
from kdopt.features.measurements import PartitionMeasurements
from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    large_campaign,
    make_rows,
    pretrain_rows,
)
from tests.report.many_synthetic import many_campaign, many_rows


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    campaign = large_campaign()
    folder = tmp_path_factory.mktemp("report")
    settings = [SettingLine("tune.t2_scale", "true", "paper, Eq. 2")]
    return write_report(folder, ReportData(campaign, make_rows(campaign), settings))[-1].as_uri()


def write_whole(folder, participants, **changes):
    """The address of a page of a campaign with every stage and measured sizes."""
    stages = ("tune", "compare", "combine", "federate")
    campaign = many_campaign(participants=participants, stages=stages, **changes)
    later = many_rows(campaign)[len(pretrain_rows(campaign)) :]
    rows = make_rows(campaign) + compare_rows(campaign) + later
    sizes = PartitionMeasurements(((5, 0), (3, 9), (4, 4)) * (participants // 3))
    measurements = {p.name: sizes for p in campaign.partitions}
    return write_report(folder, ReportData(campaign, rows, measurements=measurements))[-1].as_uri()


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return write_whole(tmp_path_factory.mktemp("whole"), 6, replicates=2)


@pytest.fixture(scope="session")
def small_whole(tmp_path_factory):
    partitions = tuple(PartitionSettings(name) for name in ("uniform", "label_dirichlet"))
    return write_whole(tmp_path_factory.mktemp("small"), 3, partitions=partitions)


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
