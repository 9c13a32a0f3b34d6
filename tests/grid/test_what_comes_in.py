"""What sources hold: broken images, things that are none, archives, and lists of paths."""

import subprocess
import tarfile
import zipfile

import photographs
import pytest

from zgrid.protocol.job import State
from zgrid.sources import path_to_uri

pytestmark = pytest.mark.grid


def test_broken_images_are_buried_and_others_passed_over(grid, album, tmp_path):
    """A broken image is buried with a reason, what is no image is passed over, and the rest is done: status 3."""
    folder = tmp_path / "in"
    folder.mkdir()
    whole = next(path for path in sorted(album.iterdir()) if path.suffix == ".jpg")
    (folder / "whole.jpg").write_bytes(whole.read_bytes())
    (folder / "head.jpg").write_bytes(whole.read_bytes()[:200])
    (folder / "rest.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no image at all" * 20)
    (folder / "notes.txt").write_text("no image")
    (folder / "named.jpg").write_text("no image either")
    (folder / "empty.png").write_bytes(b"")
    ventilator = grid.ventilator(folder, once=True, filter=["faces"])
    grid.worker()
    grid.sink()
    assert ventilator.wait() == 3
    buried = grid.buried()
    assert {uri.rpartition("/")[2] for uri in buried} == {"head.jpg", "rest.png"}
    for reason, failures in buried.values():
        assert failures == 1
        assert len(reason.split()) > 2, reason
    assert ventilator.events("scan_finished")[-1]["passed_over"] == 3
    assert {line["uri"] for line in ventilator.events("job_buried")} == set(buried)
    assert sum(grid.counts().values()) == 3


@pytest.mark.parametrize("by_reference", [False, True])
def test_archives(grid, tmp_path, by_reference):
    """Images inside zip and tar archives, compressed ones too, are jobs like any other."""
    paths = photographs.tiny(tmp_path / "loose", 6)
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths[:3]:
            archive.write(path, f"inside/{path.name}")
    with tarfile.open(tmp_path / "in" / "b.tar.gz", "w:gz") as archive:
        for path in paths[3:]:
            archive.add(path, f"inside/{path.name}")
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked"], by_reference=by_reference)
    grid.worker()
    grid.sink()
    assert ventilator.wait() == 0
    assert {uri.partition("!/inside/")[2] for uri in grid.rows()} == {path.name for path in paths}


def test_what_a_worker_may_not_read_is_sent_to_it(grid, tmp_path):
    """By reference, a link that leads out of --allow is refused; then the image travels, and no attempt is lost."""
    inside, outside = photographs.tiny(tmp_path / "in", 2), photographs.tiny(tmp_path / "out", 2, name="far")
    for path in outside:
        (tmp_path / "in" / path.name).symlink_to(path)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked"], by_reference=True, attempts_max=1)
    worker = grid.worker(allow=tmp_path / "in")
    grid.sink()
    assert ventilator.wait() == 0
    assert len(grid.rows()) == len(inside) + len(outside)
    released = [one for one in grid.history() if one.event == "released"]
    assert len(released) == len(outside)
    assert all("leads out of what this worker may read" in one.note for one in released)
    assert not ventilator.events("job_retried")
    assert not worker.events("worker_refused")


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_list_on_standard_input(grid, tmp_path, end):
    """Paths on standard input are taken as they come, whether ended by lines or by NULs."""
    paths = photographs.tiny(tmp_path / "in", 5, name="a b")
    ventilator = grid.ventilator("-", once=True, filter=["null"], stdin=subprocess.PIPE)
    grid.worker()
    grid.sink()
    with ventilator.popen.stdin as stdin:
        stdin.write(end.join(str(path).encode() for path in paths[:3]) + end)
        stdin.flush()
        grid.until(lambda: len(grid.rows()) == 3, what="the first three are stored while the list is open")
        stdin.write(str(paths[3]).encode() + end)
    assert ventilator.wait() == 0
    assert set(grid.rows()) == {path_to_uri(str(path)) for path in paths[:4]}


def test_file_that_went_away_is_buried(grid, tmp_path):
    """An image that is gone when its turn comes is buried with a sentence that says so; the others are done."""
    paths = photographs.tiny(tmp_path / "in", 5)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked"])
    grid.until(lambda: sum(grid.counts().values()) == 5, what="all are accepted")
    paths[2].unlink()
    grid.worker()
    grid.sink()
    assert ventilator.wait() == 3
    assert grid.counts()[State.STORED] == 4
    ((reason, _),) = grid.buried().values()
    assert paths[2].name in reason
