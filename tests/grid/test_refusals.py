"""What cannot work ends at once with status 2 and one sentence that says what to do."""

import socket
from functools import partial

import photographs
import pytest
from harness import free_port

pytestmark = pytest.mark.grid


@pytest.fixture
def refused(grid):
    """Wait for a process that must refuse to start; return its one sentence."""

    def wait(process):
        grid.expected.append("zgrid: ")
        assert process.wait() == 2, grid.tails()
        (sentence,) = process.said()
        assert sentence.startswith("zgrid: ")
        return sentence

    return wait


@pytest.fixture
def taken():
    """An address whose port somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        yield f"tcp://127.0.0.1:{other.getsockname()[1]}"


def test_taken_ports(grid, refused, taken, tmp_path):
    """A port that somebody has is named, with the option that gives another."""
    photographs.tiny(tmp_path / "in", 1)
    assert f"{taken} is taken" in refused(grid.ventilator(tmp_path / "in", bind=taken))
    assert f"{taken} is taken" in refused(grid.sink(bind=taken))
    sentence = refused(grid.sink("sink2", intake_port=int(taken.rpartition(":")[2])))
    assert f"{taken} is taken" in sentence
    assert "--intake-port" in sentence
    place = taken.removeprefix("tcp://")
    for name, start in (("s", grid.sink), ("w", grid.worker), ("v", partial(grid.ventilator, tmp_path / "in"))):
        sentence = refused(start(name=name, metrics=place))
        assert f"cannot serve metrics at {place}: address already in use" in sentence
        assert "--metrics" in sentence
    assert "write HOST:PORT" in refused(grid.sink("s3", metrics="9550"))


def test_second_process_on_the_same_files(grid, refused, tmp_path):
    """A ledger has one ventilator, a database and a picture folder have one sink; the second says who is there."""
    photographs.tiny(tmp_path / "in", 1)
    grid.ventilator(tmp_path / "in", filter=["null"])
    grid.sink()
    grid.until(lambda: grid.status() and grid.status(grid.sink_address), what="both answer")
    elsewhere = f"tcp://127.0.0.1:{free_port()}"
    assert "another ventilator uses the ledger" in refused(grid.ventilator(tmp_path / "in", name="v2", bind=elsewhere))
    assert "another sink" in refused(grid.sink("s2", bind=elsewhere, pictures=tmp_path / "other"))
    assert "another sink" in refused(grid.sink("s3", bind=elsewhere, db=f"sqlite:///{tmp_path}/other.sqlite"))


def test_wrong_settings(grid, refused, tmp_path):
    """A source that is not there, an unknown filter module, a foreign file and a wrong chain are each a sentence."""
    photographs.tiny(tmp_path / "in", 1)
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_bytes(b"something else altogether" * 100)
    grid.expected.append("foreign.sqlite")
    assert "nowhere does not exist" in refused(grid.ventilator(tmp_path / "nowhere"))
    assert grid.ventilator(tmp_path / "in", name="v2", ledger=foreign).wait() in (1, 2)
    assert "foreign.sqlite" in grid.processes["v2"].said()[-1]
    (tmp_path / "file").touch()
    on_the_way = "cannot be a folder: there is a file on the way"
    assert on_the_way in refused(grid.ventilator(tmp_path / "in", name="v5", ledger=tmp_path / "file" / "l.sqlite"))
    assert "is a folder" in refused(grid.ventilator(tmp_path / "in", name="v6", ledger=tmp_path / "in"))
    assert on_the_way in refused(grid.sink("s4", pictures=tmp_path / "file"))
    assert "no_such_filters" in refused(grid.worker(filter_module=["no_such_filters"]))
    assert "has no option 'colour'" in refused(grid.ventilator(tmp_path / "in", name="v3", filter=["faces:colour=red"]))
    assert "is no filter" in refused(grid.ventilator(tmp_path / "in", name="v4", filter=["faces:"]))
    assert "no filter 'facez'" in refused(grid.run(tmp_path / "in", filter=["facez"]))


def test_second_run_in_the_same_folder(grid, refused, album, tmp_path):
    """Two runs cannot have one folder; the first is not disturbed."""
    first = grid.run(album)
    ledger = tmp_path / "out" / "ledger.sqlite"
    grid.until(ledger.exists, what="the first has begun")
    assert "another run uses" in refused(grid.run(album, name="second"))
    assert first.wait() == 0


def test_a_worker_whose_ventilator_does_not_answer_says_so(grid):
    """A worker with a wrong address goes on, for a ventilator may come there, but does not wait in silence."""
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = grid.worker(to=[address])
    grid.until(lambda: worker.events("ventilator_awaited"), what="the worker says that nobody answers")
    assert f"no ventilator answers at {address}" in worker.events("ventilator_awaited")[0]["reason"]


def test_a_worker_says_how_faces_are_found(grid, tmp_path):
    """Without the model a worker warns that faces are missed, and says what to do; so does the summary of a run."""
    grid.environment["ZGRID_MODELS"] = str(tmp_path / "no-models")
    worker = grid.worker()
    grid.until(lambda: worker.events("detector"), what="the worker says which detector it has")
    (said,) = worker.events("detector")
    assert (said["detector"], said["level"]) == ("haar_alt2", "warning")
    assert "zgrid models fetch yunet" in said["advice"]
    photographs.tiny(tmp_path / "in", 1)
    run = grid.run(tmp_path / "in")
    assert run.wait() == 0
    assert "note: faces are found with the Haar cascade" in run.popen.stdout.read()
