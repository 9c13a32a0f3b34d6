"""The main job: a folder of photographs in, rows and pictures out, and nothing done twice."""

import os

import cv2
import photographs
import pytest
from harness import query

from zgrid.protocol.job import State
from zgrid.sources import path_to_uri

pytestmark = pytest.mark.grid


def check_whole(grid, rows, boxes):
    """See that every row has faces and names a picture that decodes, and that there is no other picture."""
    pictures = {picture for _, picture in rows.values()}
    assert pictures == grid.pictures()
    assert set(boxes) == set(rows)
    for picture in pictures:
        assert cv2.imread(str(grid.pictures_folder / picture)) is not None, f"{picture} does not decode"


def test_folder_in_rows_and_pictures_out(grid, tmp_path):
    """Every photograph with a face gets a row and a picture; a second run does nothing; then only news is done."""
    folder = tmp_path / "photos"
    if not photographs.write(folder, 24):
        pytest.skip("no photographs here: pip install scikit-image")
    ventilator = grid.ventilator(folder, once=True)
    grid.worker(procs=2)
    sink = grid.sink()
    assert ventilator.wait() == 0
    counts = grid.counts()
    assert sum(counts.values()) == counts[State.STORED] + counts[State.DISCARDED] == 24
    rows = grid.rows()
    assert len(rows) == counts[State.STORED] > 0
    check_whole(grid, rows, grid.boxes())
    assert {line["uri"] for line in sink.events("job_stored")} == set(rows)

    begun = len(grid.history())
    assert grid.restart("ventilator").wait() == 0
    assert (grid.counts(), grid.rows()) == (counts, rows)
    assert "sent" not in {happened.event for happened in grid.history()[begun:]}

    changed = min(folder.iterdir())
    new = folder / "new.jpg"
    new.write_bytes(changed.read_bytes())
    os.utime(changed, ns=(1, 1))
    assert grid.restart("ventilator").wait() == 0
    sent = [seq for happened in grid.history()[begun:] if happened.event == "sent" for seq in happened.seqs]
    told = query(grid.ledger, "SELECT seq, uri FROM jobs WHERE seq > 24")
    assert sorted(sent) == sorted(seq for seq, _ in told)
    assert {uri for _, uri in told} == {path_to_uri(str(changed)), path_to_uri(str(new))}
    assert sum(grid.counts().values()) == 26
    finished = ventilator.events("scan_finished")[-1]
    assert (finished["accepted"], finished["known_already"]) == (26, 23)


def test_status_and_why_tell_the_truth(grid, tmp_path):
    """While the ventilator stays, status counts what was done, and why tells the life of a job, newest last."""
    paths = photographs.tiny(tmp_path / "in", 30)
    grid.ventilator(tmp_path / "in", filter=["null"])
    grid.worker(procs=2)
    grid.sink()
    grid.until_settled(30)
    status = grid.until(lambda: (one := grid.status())["counts"]["stored"] == 30 and one, what="status says 30 stored")
    assert status["accepted"] == 30
    assert status["counts"]["sent"] == status["counts"]["finished"] == 0
    assert [(one["name"], one["done"], one["sent"]) for one in status["workers"]] == [("w1", 30, 0)]
    assert [one["state"] for one in status["sinks"]] == ["up"]
    assert not status["waiting"]
    said = grid.start("why", "why", [grid.address, str(paths[7])])
    assert said.wait() == 0
    text = said.text()
    assert [word for word in text.split() if word in ("sent", "finished")] == ["sent", "finished"]
    assert "state: stored" in text
    grid.expected.append("")  # what a command says to people is no log


def test_by_reference_and_inline_give_the_same_rows(grid, album, tmp_path):
    """Whether images travel or are read by the worker, the rows, boxes and pictures are the same."""
    found = []
    for mode in (False, True):
        name = f"by-reference-{mode}"
        (tmp_path / name).mkdir()
        grid.ledger, grid.database = tmp_path / name / "ledger.sqlite", tmp_path / name / "results.sqlite"
        grid.pictures_folder = tmp_path / name / "pictures"
        ventilator = grid.ventilator(album, once=True, by_reference=mode)
        grid.worker(procs=2)
        grid.sink()
        assert ventilator.wait() == 0
        found.append((grid.rows(), grid.boxes(), grid.pictures()))
        grid.stop()
    assert found[0] == found[1]
    assert found[0][0]
