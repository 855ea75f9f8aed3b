"""The stores that are merged."""

from __future__ import annotations

import pytest

from tests.store.merge.sites import KINDS, Places


@pytest.fixture
def places(request, tmp_path):
    made = Places(request, tmp_path)
    yield made
    for site in made.sites:
        site.store.close()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def here(places, kind):
    """The store that is written."""
    return places.new(kind)


@pytest.fixture
def there(places):
    """The store that is read."""
    return places.new("sqlite")


@pytest.fixture
def across(places, kind):
    """A store to read of the other kind, so that each is read and written."""
    return places.new(KINDS[1 - KINDS.index(kind)])
