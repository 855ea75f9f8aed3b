from __future__ import annotations

import pytest

from kdopt.plugins.sources import describe_package, give_plugins


@pytest.fixture(autouse=True)
def forget_plugins():
    """No plugin of one test is known to another."""
    yield
    give_plugins([])
    describe_package.cache_clear()
