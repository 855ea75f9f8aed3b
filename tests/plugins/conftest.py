from __future__ import annotations

import pytest

from kdopt.plugins.files import give_plugins
from kdopt.plugins.packages import describe_package


@pytest.fixture(autouse=True)
def forget_plugins():
    """No plugin of one test is known to another."""
    yield
    give_plugins([])
    describe_package.cache_clear()
