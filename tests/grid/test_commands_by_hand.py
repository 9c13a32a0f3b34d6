"""The commands put, jobs, peek, bury, kick, cancel, retry, pause, resume and drain, as people and programs see them."""

import io
import json
import os
import sys

import pytest
from by_hand import await_state, image

from zgrid.cli import status_of

pytestmark = pytest.mark.grid


@pytest.fixture
def says(grid, client, capsys, monkeypatch):
    """Run a command on the grid's ventilator; return its status, standard output and standard error."""
    for variable in [name for name in os.environ if name.startswith("ZGRID_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "200")

    def say(command, *words):
        status = status_of([command, grid.address, "--timeout-ms=20000", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return say


@pytest.fixture
def files(tmp_path):
    """Three files of images, a text, and a path that leads nowhere."""
    folder = tmp_path / "in"
    folder.mkdir()
    paths = []
    for _ in range(3):
        name, data = image()
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    (folder / "notes.txt").write_text("no image")
    return [*paths, folder / "notes.txt", folder / "gone.jpg"]


def test_put_says_what_became_of_each_file(says, files, client):
    """Each file has a line with its job; what cannot be put is named, the rest is put, and the status says it."""
    status, out, err = says("put", *files, "--delay", "1h", "--priority", "-5", "--ttr", "2m", "--attempts", "7")
    assert status == 2
    assert [line.split(":")[0] for line in out.splitlines()] == ["job 1", "job 2", "job 3"]
    assert f"zgrid: {files[3]} is no image" in err
    assert f"zgrid: {files[4]} cannot be read: No such file or directory" in err
    job = client.peek(2)["job"]
    assert (job["state"], job["priority"], job["ttr_ms"], job["attempts_max"]) == ("delayed", -5, 120_000, 7)
    assert job["uri"].endswith(files[1].name)
    status, out, err = says("put", files[0], "--filter", "marked", "--filter", "look")
    assert (status, out, err) == (0, f"job 1 (known, delayed: the terms it was put with stay): {files[0]}\n", "")
    assert says("put", files[0]) == (0, f"job 1 (known, delayed): {files[0]}\n", "")


def test_put_of_what_is_closed_says_what_to_do(says, files, client):
    """A known job that will not be done is status 1, and its line says what really takes the image up again."""
    says("put", *files[:3], "--delay", "1h")
    client.bury(1)
    client.cancel(2)
    status, out, err = says("put", *files[:3], "--priority", "5")
    stay, gone = "the terms it was put with stay", "its image is not kept any more, so put it again under another name"
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"job 1 (known, buried: {stay}; zgrid retry takes it up again): {files[0]}",
        f"job 2 (known, cancelled: {stay}; {gone}): {files[1]}",
        f"job 3 (known, delayed: {stay}): {files[2]}",
    ]
    status, out, err = says("put", *files[:3] * 7)
    assert (status, out) == (1, "0 put, 21 known already, 0 refused\n")
    assert set(err.splitlines()) == {
        f"zgrid: job 1 (known, buried: zgrid retry takes it up again): {files[0]}",
        f"zgrid: job 2 (known, cancelled: {gone}): {files[1]}",
    }
    assert says("put", *files[1:2], "--json")[0] == 1
    assert says("put", *files)[0] == 2
    assert says("retry", 1, 2)[1] == "1 job retried\n"
    assert says("put", files[0])[0] == 0


def test_put_for_programs(says, files):
    """As JSON every file has its job or its reason."""
    status, out, err = says("put", *files, "--json")
    told = json.loads(out)
    assert (status, err) == (2, "")
    assert told["put"][0] == {"file": str(files[0]), "job": 1, "known": False, "state": "ready"}
    assert [one["file"] for one in told["put"]] == [str(file) for file in files[:3]]
    assert [one["file"] for one in told["refused"]] == [str(file) for file in files[3:]]


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_put_takes_a_list(says, files, monkeypatch, end):
    """Paths on standard input are put, whether ended by lines or by NULs; of many files there is a sum."""
    stdin = io.TextIOWrapper(io.BytesIO(b"".join(bytes(file) + end for file in files)))
    monkeypatch.setattr(sys, "stdin", stdin)
    status, out, err = says("put", "-")
    assert (status, out) == (2, "3 put, 0 known already, 2 refused\n")
    assert len(err.splitlines()) == 2


def test_jobs_and_peek_for_people(says, client):
    """Jobs are listed in columns, newest first, with a word where there are more; peek shows one with its evidence."""
    for words in ("keep", "fail"):
        client.put(image(words), delay_s=3600)
    client.bury(2, reason="it looked odd")
    status, out, _ = says("jobs")
    lines = out.splitlines()
    assert (status, lines[0].split()[:4]) == (0, ["job", "state", "priority", "attempts"])
    assert [line.split()[:2] for line in lines[1:]] == [["2", "buried"], ["1", "delayed"]]
    assert "it looked odd" in lines[1]
    assert says("jobs", "--limit", "1")[1].endswith("and more: these are the newest 1\n")
    assert says("jobs", "--state", "stored")[1] == "there is no such job\n"
    assert [one["seq"] for one in json.loads(says("jobs", "--source", "*keep*", "--json")[1])["jobs"]] == [1]
    status, out, _ = says("peek", "--state", "buried")
    assert status == 0
    assert {"seq: 2", "state: buried", "reason: it looked odd"} <= set(out.splitlines())
    assert json.loads(says("peek", "1", "--json")[1])["job"]["seq"] == 1
    assert says("peek", "--state", "ready")[:2] == (0, "no job is ready\n")
    said = (
        f"zgrid: there is no job 77 at {client.address}: give its number, its key, or the path of its image as it was"
    )
    assert says("peek", "77") == says("why", "77") == (2, "", f"{said} given\n")


def test_operations_for_people_and_programs(says, client):
    """Each verb says how many jobs it changed and why not others; a name without a job is status 2, a repeat is not."""
    for _ in range(3):
        client.put(image(), delay_s=3600)
    assert says("bury", 1, 2, "--reason", "why not") == (0, "2 jobs buried\n", "")
    assert says("bury", 1) == (0, "0 jobs buried\n", "zgrid: 1: it is buried already\n")
    assert says("kick", 1, 99) == (2, "1 job kicked\n", "zgrid: 99: there is no such job\n")
    assert says("kick", "--all")[:2] == (0, "1 job kicked\n")
    assert says("cancel", "--source", "put:*/keep-*")[:2] == (0, "3 jobs cancelled\n")
    assert says("retry", 1)[:2] == (0, "0 jobs retried\n")
    assert json.loads(says("kick", 1, "--json")[1]) == {
        "changed": 0,
        "jobs": [],
        "unchanged": [["1", "it was closed for good: zgrid retry takes it up again"]],
        "unknown": 0,
    }
    status, out, err = says("cancel")
    assert (status, out) == (2, "")
    assert err == "zgrid: say what to cancel, in one way: jobs or a source's pattern\n"
    assert says("cancel", "--source", "*", "--state", "stored")[0] == 2
    status, out, err = says("kick", 1, "--state", "buried")
    assert (status, out) == (2, "")
    assert err == (
        "zgrid: a state narrows a source's pattern or all, not jobs that are named: name no state, or no jobs\n"
    )


def test_patterns_are_of_what_uris_are_made_of(says, client):
    """A stray byte is no wildcard; where nothing fits, a letter that no URI has is told as URIs have it."""
    client.put(image()[1], "café noir.jpg", delay_s=3600)
    status, out, err = says("cancel", "--source", "\udcff*")
    assert (status, out) == (2, "")
    assert "write %FF for such a byte" in err
    for pattern, letter in (("*café*", "é is %C3%A9"), ("* noir*", "' ' is %20")):
        said = f": patterns fit URIs, which are percent-encoded ({letter})\n"
        assert says("cancel", "--source", pattern) == (
            0,
            "0 jobs cancelled\n",
            f"zgrid: no such job fits {pattern}{said}",
        )
        assert says("jobs", "--source", pattern)[1] == f"there is no such job{said}"
    assert "the whole URI" in says("cancel", "--source", "noir.jpg")[2]
    assert says("cancel", "--source", "*caf%C3%A9%20noir*")[1] == "1 job cancelled\n"


def test_empty_is_not_all(says, client):
    """An empty variable of a shell chooses nothing: it is refused, and nothing is done."""
    client.put(image(), delay_s=3600)
    client.pause("marked")
    for words in (
        ("pause", "--chain", ""), ("resume", "--chain", ""), ("jobs", "--chain", ""), ("jobs", "--source", ""),
        ("cancel", "--source", ""), ("cancel", "--source", "*", "--state", ""), ("jobs", "--state", ""),
    ):  # fmt: skip
        name = words[-2].removeprefix("--")
        assert says(*words) == (2, "", f"zgrid: {name} is empty: name one, or leave it out\n")
    status = client.status()
    assert (status["paused"], status["paused_chains"], status["counts"]["delayed"]) == (False, ["marked"], 1)
    status, out, err = says("put", __file__, "--filter", "")
    assert (status, out) == (2, "")
    assert err == "zgrid: a filter of the chain is empty: name one, or leave it out\n"


def test_halts_for_people_and_programs(grid, says, client):
    """Pause, resume and drain say how it stands; status shows it."""
    client.put(image(), delay_s=3600)
    assert says("pause")[:2] == (0, "the ventilator is paused\n")
    assert says("pause", "--chain", "marked")[1].splitlines() == ["the ventilator is paused", "paused: chain marked"]
    assert json.loads(says("resume", "--json")[1]) == {"paused": False, "paused_chains": ["marked"]}
    assert says("resume", "--chain", "marked")[:2] == (0, "the ventilator sends jobs\n")
    status, _, err = says("pause", "--chain", "faces")
    assert status == 2
    assert "no job has the chain 'faces'; the chains here are: marked" in err
    assert says("drain")[:2] == (0, "draining: it ends when 1 open jobs are settled\n")
    out = says("status")[1]
    assert "it is draining" in out
    assert "waiting: the drain waits for delayed jobs: zgrid kick" in out
    assert says("put", grid.ledger)[0] == 2
    assert says("cancel", 1)[0] == 0
    assert grid.processes["ventilator"].wait() == 0
    status, _, err = says("jobs", "--timeout-ms=200")
    assert status == 1
    assert "nobody answers" in err


def test_status_and_why_tell_the_evidence(grid, says, client, tmp_path):
    """Why shows what is known of each failure; status what each worker ever did, and chains where there are several."""
    grid.worker()
    grid.sink()
    job = client.put(image("segv"), attempts=1, chain="marked:work_ms=1").job
    await_state(grid, client, job, "buried")
    client.put(image(f"touches {tmp_path}/go"))
    out = says("why", job)[1]
    assert "so far: " in out
    assert "crashed 1" in out
    assert "stderr: Fatal Python error: Segmentation fault" in out
    assert "signal: 11" in out
    assert "worker: w1" in out
    grid.until(lambda: "75%" in says("status")[1], what="status shows the progress")
    out = says("status")[1]
    assert "marked:work_ms=1" in out
    assert "jobs of each, ever" in out
    (tmp_path / "go").touch()
    grid.until_settled(2)
