"""What several stages' tests start from: the module's ``CAMPAIGN``, its images and its models."""

from __future__ import annotations

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.trials.pretrain import run_pretrain
from tests.trials.test_context import new_context


@pytest.fixture(scope="module")
def dataset(request):
    campaign = request.module.CAMPAIGN
    return read_dataset(campaign.data, campaign.seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def context(request, dataset, folder):
    return new_context(request.module.CAMPAIGN, dataset, folder)


@pytest.fixture(scope="module")
def trained(request, context):
    """The pre-trained participants of the first partition."""
    campaign = request.module.CAMPAIGN
    plan = plan_studies(campaign)[0]
    return {
        i: run_pretrain(context, plan, {"participant": i}, {}) for i in range(campaign.participants)
    }
