"""Bury, kick, cancel and retry, jobs and peek, on a running grid: on each state, durable, once only, and told truly."""

import signal
import time

import photographs
import pytest
import zmq
from by_hand import await_answers, await_state, image, state_of
from harness import query

from zgrid import Client
from zgrid.errors import SettingsError
from zgrid.protocol import wire
from zgrid.protocol.job import Offer, State
from zgrid.protocol.messages import Question
from zgrid.store.ledger import Ledger

pytestmark = pytest.mark.grid

MANY = 60_000


@pytest.fixture
def zoo(grid, client, tmp_path):
    """Jobs, one in each state, by the state's name; and what lets all of them go on."""
    go = tmp_path / "go"
    grid.worker(procs=2)
    sink = grid.sink()
    jobs = {}
    for state, words in (("stored", "keep"), ("discarded", "discard no"), ("buried", "fail bad")):
        jobs[state] = await_state(grid, client, client.put(image(words)).job, state)
    sink.send(signal.SIGSTOP)
    jobs["finished"] = await_state(grid, client, client.put(image()).job, "finished")
    jobs["sent"] = await_state(grid, client, client.put(image(f"wait {go}")).job, "sent")
    client.pause()
    jobs["ready"] = client.put(image()).job
    jobs["delayed"] = client.put(image(), delay_s=3600).job
    jobs["cancelled"] = client.put(image(), delay_s=3600).job
    assert client.cancel(jobs["cancelled"]).changed == 1

    def let_go():
        sink.send(signal.SIGCONT)
        go.touch()
        client.resume()

    yield jobs, let_go
    sink.send(signal.SIGCONT)
    go.touch()


BECOMES = {
    "bury": ("buried", {"ready", "delayed", "sent", "finished"}),
    "cancel": ("cancelled", {"ready", "delayed", "sent", "finished", "buried"}),
    "kick": ("ready", {"buried", "delayed"}),
    "retry": ("ready", {"buried", "delayed"}),  # the images of those that were discarded or cancelled are gone
}
"""Verb -> what it makes of jobs that were put, and of those in which states."""

EVENTS = {"bury": "buried", "cancel": "cancelled", "kick": "kicked", "retry": "retried"}


@pytest.mark.parametrize("verb", BECOMES)
def test_verb_on_every_state(grid, client, zoo, verb):
    """A verb changes the jobs that it may, says why not of the others, changes nothing twice, and survives kill -9."""
    jobs, let_go = zoo
    becomes, legal = BECOMES[verb]
    operate = getattr(client, verb)
    assert {state: state_of(client, job) for state, job in jobs.items()} == {state: state for state in jobs}
    done = operate(*jobs.values(), 99_999, reason="so we thought")
    grid.kill("ventilator")  # whatever was answered is on disk
    found = {seq: State(state).name.lower() for seq, state in query(grid.ledger, "SELECT seq, state FROM jobs")}
    unsettled = {"sent": "ready", "finished": "ready"}  # as the ledger has what is under way
    expected = {state: becomes if state in legal else unsettled.get(state, state) for state in jobs}
    assert {state: found[job] for state, job in jobs.items()} == expected
    assert (done.changed, set(done.jobs)) == (len(legal), {jobs[state] for state in legal})
    left = dict(done.unchanged)
    assert (done.unknown, left.pop("99999")) == (1, "there is no such job")
    assert set(left) == {str(jobs[state]) for state in jobs.keys() - legal}
    assert all(len(why.split()) > 2 for why in left.values()), left

    grid.restart("ventilator")
    await_answers(grid)
    assert operate(*[jobs[state] for state in legal]).changed == 0
    for state in legal:
        (event,) = [one for one in client.why(jobs[state])["history"] if one["event"] == EVENTS[verb]][-1:]
        assert event["note"] == "so we thought"
    let_go()
    client.kick(source="put:*", state="delayed")
    going = [jobs[state] for state in jobs if expected[state] in ("ready", "delayed")]
    grid.until(lambda: {state_of(client, job) for job in going} <= {"stored", "buried"}, what="all of it goes on")
    assert all(uri.startswith("put:") for uri in grid.rows())


@pytest.mark.parametrize("verb", BECOMES)
def test_state_narrows_no_jobs_that_are_named(client, verb):
    """A state beside jobs that are named is refused, and nothing is done; it narrows a pattern."""
    job = client.put(image(), delay_s=3600).job
    state = "ready" if verb == "bury" else "buried"
    with pytest.raises(SettingsError, match="a state narrows a source's pattern"):
        getattr(client, verb)(job, state=state)
    assert state_of(client, job) == "delayed"
    assert getattr(client, verb)(source="put:*", state=state).changed == 0
    assert client.bury(job).changed == client.kick(everything=True, state="buried").changed == 1


def test_withdrawn_while_it_runs(grid, client, tmp_path):
    """A job that is buried while a worker has it is kicked and done by a new attempt; what comes late is late."""
    go = tmp_path / "go"
    grid.worker(procs=1)
    grid.sink()
    job = await_state(grid, client, client.put(image(f"wait {go}")).job, "sent")
    assert client.bury(job).changed == 1
    assert state_of(client, job) == "buried"
    assert client.kick(job).changed == 1
    go.touch()
    await_state(grid, client, job, "stored")
    assert len(grid.rows()) == 1
    assert client.why(job)["counts"]["buried"] == 1


def test_retry_of_what_is_still_in_its_place(grid, tmp_path):
    """Images in a source are there for another try, though their jobs were discarded; the attempts are counted on."""
    paths = photographs.tiny(tmp_path / "in", 3, "discard no")
    grid.ventilator(tmp_path / "in", filter=["marked"])
    grid.worker()
    grid.sink()
    grid.until_settled(3)
    with Client(grid.address, 20_000) as client:
        assert client.retry(source="file:*/tiny-*", state="discarded").changed == 3
        grid.until(lambda: all(client.why(path)["counts"]["sent"] == 2 for path in paths), what="all are done again")
        grid.until(lambda: {state_of(client, path) for path in paths} == {"discarded"}, what="all are discarded again")
        assert client.peek(paths[0])["job"]["attempts"] == 2
        assert client.kick(paths[0]).unchanged[0][1] == "it was closed for good: zgrid retry takes it up again"


def test_question_that_comes_twice(grid, client):
    """A question sent again by the same tool under the same number is answered again, and not done again."""
    job = client.put(image(), delay_s=3600).job
    frames = wire.encode(Question(id=7, body={"what": "cancel", "jobs": [job]}))
    with zmq.Context() as context, context.socket(zmq.DEALER) as tool:
        tool.linger = 0
        tool.connect(grid.address)
        answers = []
        for _ in range(3):
            tool.send_multipart(frames)
            assert tool.poll(20_000)
            answers.append(wire.decode(tool.recv_multipart()).body)
    assert answers == [{"changed": 1, "jobs": [job], "unchanged": [], "unknown": 0}] * 3
    assert client.cancel(job).unchanged == [(str(job), "it is cancelled already")]
    assert client.why(job)["history"][-1]["event"] == "cancelled"
    assert len(client.why(job)["history"]) == 1


def test_sixty_thousand_at_once(grid):
    """A pattern that means very many jobs is done in pieces: others are answered meanwhile, and no job is missed."""
    ledger = Ledger(grid.ledger)
    chain = ledger.chain_id("marked")
    for first in range(0, MANY, 10_000):
        offers = [Offer(f"file:///p/{number % 3}/{number}.jpg", 9, 1) for number in range(first, first + 10_000)]
        ledger.accept(offers, chain, 1)
    ledger.commit()
    ledger.close()
    grid.ventilator(filter=["marked"])
    await_answers(grid)
    with Client(grid.address, 20_000) as client, zmq.Context() as context, context.socket(zmq.DEALER) as tool:
        tool.linger = 0
        tool.connect(grid.address)
        tool.send_multipart(wire.encode(Question(id=1, body={"what": "bury", "source": "*/p/[01]/*"})))
        slowest_s = 0.0
        while not tool.poll(0):
            began = time.monotonic()
            client.status()
            slowest_s = max(slowest_s, time.monotonic() - began)
        answer = wire.decode(tool.recv_multipart()).body
        assert answer["changed"] == MANY * 2 // 3
        assert len(answer["jobs"]) == 1000
        assert slowest_s < 5.0
        counts = client.status()["counts"]
        assert (counts["buried"], counts["ready"]) == (MANY * 2 // 3, MANY // 3)
        assert client.kick(source="file:///p/0/*").changed == MANY // 3
        assert client.cancel(source="file:///p/0/*").changed == MANY // 3
        assert client.kick(everything=True).changed == MANY // 3
        assert client.kick(everything=True).changed == 0
        assert client.cancel(source="*").changed == MANY * 2 // 3
        assert client.status()["counts"]["cancelled"] == MANY
    assert grid.counts()[State.CANCELLED] == MANY


def test_looking_at_jobs(grid, client, zoo):
    """Jobs are listed newest first by state, pattern and chain; peek shows the next of a state; nothing is changed."""
    jobs, _ = zoo
    listed = client.jobs()
    assert [one["seq"] for one in listed] == sorted(jobs.values(), reverse=True)
    assert {one["state"]: one["seq"] for one in listed} == jobs
    for state, job in jobs.items():
        assert [one["seq"] for one in client.jobs(state)] == [job]
    assert [one["seq"] for one in client.jobs(source="put:*/fail-*")] == [jobs["buried"]]
    assert client.jobs(chain="null") == client.jobs("ready", source="nowhere") == client.jobs("sent", source="x*") == []
    assert [one["seq"] for one in client.jobs(limit=2)] == sorted(jobs.values())[:-3:-1]
    assert client.ask({"what": "jobs", "limit": 2})["more"] is True
    assert client.ask({"what": "jobs", "state": "ready", "limit": 1})["more"] is False
    for state in ("ready", "delayed", "buried"):
        assert client.peek(state=state)["job"]["seq"] == jobs[state]
    buried = client.peek(jobs["buried"])
    assert (buried["job"]["reason"], buried["evidence"][0]["reason"]) == ("bad", "bad")
    assert buried["evidence"][0]["detail"]["worker"] == "w1"
    under_way = client.peek(jobs["sent"])["job"]
    assert (under_way["worker"], under_way["lane"]) == ("w1", 1)
    assert client.cancel(jobs["delayed"]).changed == 1
    assert client.peek(state="delayed") is None
    for wrong in (lambda: client.peek(99_999), lambda: client.why("file:///nowhere"), lambda: client.jobs("asleep")):
        with pytest.raises(SettingsError):
            wrong()


def test_wrong_questions_are_sentences(client):
    """Whatever cannot be asked is refused with one sentence, and nothing stops."""
    for body in (
        {"what": "fly"},
        {"what": 5},
        {},
        {"what": "bury"},
        {"what": "bury", "jobs": []},
        {"what": "bury", "jobs": [None]},
        {"what": "bury", "jobs": [1], "source": "*"},
        {"what": "bury", "source": 5},
        {"what": "bury", "source": "*", "state": "stored"},
        {"what": "kick"},
        {"what": "jobs", "limit": 0},
        {"what": "jobs", "limit": 10**6},
        {"what": "jobs", "state": "asleep"},
        {"what": "peek"},
        {"what": "peek", "job": 1, "state": "ready"},
        {"what": "peek", "state": "stored"},
        {"what": "why"},
        {"what": "pause", "chain": "no such filter:"},
        {"what": "pause", "chain": "null"},
    ):
        with pytest.raises(SettingsError) as caught:
            client.ask(body)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value).split()) > 3, body
    assert client.status()["accepted"] == 0


def test_progress_of_what_runs(grid, client, tmp_path):
    """How far a filter says it is shows in status, in peek and in why, with the worker and for how long."""
    go = tmp_path / "go"
    grid.worker(procs=1)
    grid.sink()
    job = client.put(image(f"touches {go}")).job

    def running():
        return [one for worker in client.status()["workers"] for one in worker["running"] if one["progress"] == 0.75]

    (one,) = grid.until(running, what="status says how far it is")
    assert (one["job"], one["for_ms"] >= 0) == (job, True)
    told = client.why(job)["job"]
    assert (told["state"], told["worker"], told["progress"]) == ("sent", "w1", 0.75)
    assert told["running_ms"] >= one["for_ms"]
    go.touch()
    await_state(grid, client, job, "stored")


def test_history_of_workers_survives_restarts(grid, client):
    """What each worker did is counted over all lives of ventilator and worker, with the first and last time."""
    grid.worker()
    grid.sink()
    for words in ("keep", "discard no", "fail bad"):
        client.put(image(words))
    grid.until_settled(3)
    grid.until(lambda: grid.counts()[State.STORED] == 1, what="one is stored")
    grid.kill("ventilator", signal.SIGTERM)
    grid.kill("w1", signal.SIGTERM)
    for name in ("ventilator", "w1"):
        grid.restart(name)
    grid.until_joined("w1")
    (worker,) = client.status()["workers"]
    assert (worker["finished"], worker["discarded"], worker["failed"], worker["done"]) == (1, 1, 1, 0)
    assert 0 < worker["first_ms"] <= worker["last_ms"]
