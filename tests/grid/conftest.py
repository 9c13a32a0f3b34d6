"""Fixtures of the tests on real processes."""

import photographs
import pytest
from harness import Grid

from zgrid import Client

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Remember that a test failed, so that its grid is only swept away and does not complain as well."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture
def grid(tmp_path, request):
    """A grid of real processes in a folder of its own; it ends with the test, which fails for what is left behind."""
    grid = Grid(tmp_path)
    yield grid
    grid.end(failed=request.node.stash.get(FAILED, False))


@pytest.fixture
def client(grid):
    """A client of a ventilator that has no sources, for the filter ``marked``; there is no worker and no sink yet."""
    grid.ventilator(filter=["marked"])
    grid.until(grid.status, what="the ventilator answers")
    with Client(grid.address, 20_000) as client:
        yield client


@pytest.fixture(scope="session")
def album(tmp_path_factory):
    """A folder of 24 photographs with and without faces."""
    folder = tmp_path_factory.mktemp("album") / "photos"
    if not photographs.write(folder, 24):
        pytest.skip("no photographs here: pip install scikit-image")
    return folder
