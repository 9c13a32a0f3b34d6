"""Fixtures of the tests about who may come in."""

import pytest
from gatehouse import Gatehouse


@pytest.fixture
def house(tmp_path):
    """A guarded process that lets everybody of its list in."""
    house = Gatehouse(tmp_path / "keys")
    house.allow()
    yield house
    house.close()
