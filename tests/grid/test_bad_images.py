"""A folder of hundreds of bad files: every one ends with a reason, no child is lost for good, and the grid goes on."""

import re
import sys
from pathlib import Path

import pytest
from harness import TESTS

sys.path.append(str(TESTS / "filters"))
from bad_files import is_passed_over, makers, whole
from odd_files import odd_files

from zgrid import Client
from zgrid.protocol.job import State

pytestmark = [pytest.mark.grid, pytest.mark.filterwarnings("ignore::UserWarning")]

CHILD_BYTES_MAX = 1 << 30


def peak_bytes(pid):
    """Return the most memory that a process ever had in core."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) << 10


def test_every_bad_file_ends_with_a_reason(grid, tmp_path, record_property):
    """Buried or passed over, within the memory that a child may have; the pictures among them are done."""
    folder = tmp_path / "in"
    folder.mkdir()
    bad = {name: whole(make) for name, make in makers()}
    for name, data in {**bad, **odd_files()}.items():
        (folder / name).write_bytes(data)
    passed = {name for name, data in bad.items() if is_passed_over(data)}
    grid.ventilator(folder, filter=["faces", "highlight"], by_reference=True)
    worker = grid.worker(procs=2, filter_module=[], child_memory_bytes_max=CHILD_BYTES_MAX)
    grid.sink()
    grid.until_settled(len(bad) + len(odd_files()) - len(passed), within_s=90.0)
    buried = {Path(uri).name: why for uri, (why, _) in grid.buried().items()}
    assert set(buried) == set(bad) - passed
    assert all(10 < len(why) < 400 for why in buried.values())
    assert grid.status()["passed_over"] == len(passed)
    peaks = [peak_bytes(pid) for pid in worker.children()]
    record_property("child_peak_bytes", max(peaks))
    assert len(peaks) == 2
    assert max(peaks) < CHILD_BYTES_MAX
    assert not worker.events("child_died")
    settled = sum(grid.counts().values())
    with Client(grid.address, 20_000) as client:
        client.put(odd_files()["cmyk.jpg"], name="one more.jpg")
    counts = grid.until_settled(settled + 1)
    assert counts[State.BURIED] == len(buried)
