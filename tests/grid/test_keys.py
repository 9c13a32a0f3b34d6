"""Grids that have keys: they do their work, people come and go while it runs, and each who may not is told why."""

import re

import photographs
import pytest
from ends import check_end
from harness import free_port

from zgrid import Client
from zgrid.errors import SettingsError
from zgrid.protocol.job import State
from zgrid.transport.enrolment import Enrolment
from zgrid.transport.keyring import read_key

pytestmark = pytest.mark.grid

PICTURE_BYTES = 20_000


@pytest.fixture
def keyed(grid):
    """A grid with keys in its folder, for two workers; nothing is started."""
    grid.keys = grid.folder / "keys"
    grid.enrolment = Enrolment(grid.keys)
    grid.enrolment.init("photos")
    for name in ("w1", "w2"):
        grid.enrolment.enroll(name, "worker")
    grid.key = read_key(grid.keys / "operator.key")
    return grid


def serve(grid, *sources, **settings):
    """Start a ventilator and a sink with their keys."""
    settings = {"filter": [f"marked:work_ms=10,picture_bytes={PICTURE_BYTES}"], "beat_interval_ms": 200, **settings}
    ventilator = grid.ventilator(*sources, keys=grid.keys, **{**settings, "filter": settings["filter"]})
    return ventilator, grid.sink(keys=grid.keys)


def worker(grid, name, **settings):
    """Start a worker with its keys."""
    return grid.worker(name, keys=grid.keys / f"{name}.key", **settings)


def client(grid, name="operator"):
    """Return a client with an operator's key."""
    return Client(grid.address, 20_000, keys=grid.keys / f"{name}.key")


def finishers(grid):
    """Return which workers have done a job."""
    return {one.worker for one in grid.history() if one.event == "finished"}


def test_work_with_keys_and_revocation_while_it_runs(keyed, tmp_path):
    """Enrolled while the grid runs, a worker joins; revoked, another is put out, and its jobs cost no attempt."""
    photographs.tiny(tmp_path / "in", 120)
    ventilator, sink = serve(keyed, tmp_path / "in", filter=["marked:work_ms=100"])
    keyed.until(lambda: ventilator.events("sink_up"), what="the grid runs")
    keyed.enrolment.enroll("w3", "worker")
    first, *_ = [worker(keyed, name) for name in ("w1", "w2", "w3")]
    keyed.until_joined("w1", "w2", "w3")
    keyed.until(lambda: "w1" in finishers(keyed), what="w1 has done something")
    keyed.enrolment.revoke("w1")
    keyed.until(lambda: {one["name"] for one in keyed.status()["workers"]} == {"w2", "w3"}, what="w1 is put out")
    assert keyed.counts()[State.STORED] < 120, "all was done before: that shows nothing"
    keyed.until(lambda: first.events("turned_away"), what="w1 is told")
    assert "never enrolled there, or is revoked" in first.events("turned_away")[0]["reason"]
    assert any("was revoked" in line["reason"] for line in first.events("worker_refused"))
    assert ventilator.events("keys")[-1]["gone"] == ["w1"]
    keyed.until(lambda: sink.events("keys")[-1]["gone"] == ["w1"], what="the sink puts it out, too")
    check_end(keyed, 120)
    assert not ventilator.events("worker_silent")
    assert finishers(keyed) == {"w1", "w2", "w3"}


def test_rights_of_real_processes(keyed, tmp_path):
    """An operator asks and puts; a worker's key does neither; nobody without keys, or with others, gets an answer."""
    serve(keyed, filter=["marked"])
    worker(keyed, "w1")
    keyed.until_joined("w1")
    photographs.tiny(tmp_path / "in", 3)
    with client(keyed) as operator:
        placed = list(operator.put_many(sorted((tmp_path / "in").rglob("*.*"))))
        keyed.until(lambda: keyed.counts()[State.STORED] == len(placed) > 0, what="what was put is stored")
        assert operator.why(placed[0].job)["job"]["state"] == "stored"
    with Client(keyed.sink_address, 20_000, keys=keyed.keys) as operator:
        assert operator.status()["role"] == "sink", "the same key asks the sink, and finds out that it is one"
    with pytest.raises(SettingsError, match="whose role is worker and not operator"), client(keyed, "w1"):
        pass
    other = Enrolment(tmp_path / "other")
    other.init("others")
    wrong = {
        "wants keys": {"insecure": True},
        "hangs up on these keys": {"keys": tmp_path / "other" / "operator.key"},
    }
    for said, how in wrong.items():
        with Client(keyed.address, 20_000, **how) as stranger, pytest.raises(SettingsError, match=said):
            stranger.status()
    path = keyed.enrolment.enroll("anna", "operator")
    kept = path.read_bytes()
    with client(keyed, "anna") as anna:
        assert anna.status()["accepted"] == len(placed)
        keyed.enrolment.revoke("anna")
        keyed.until(lambda: "anna" in keyed.processes["ventilator"].events("keys")[-1]["gone"], what="anna is put out")
        with pytest.raises(SettingsError, match="does not let this key in"):
            anna.status()
    path.touch(0o600)
    path.write_bytes(kept)
    with client(keyed, "anna") as anna, pytest.raises(SettingsError, match="does not let this key in"):
        anna.status()


def test_who_is_turned_away_says_why(keyed, tmp_path):
    """A worker without keys, one with those of another grid, and one with keys at a plain ventilator each say so."""
    other = Enrolment(tmp_path / "other")
    other.init("others")
    other.enroll("w9", "worker")
    ventilator, _ = serve(keyed)
    bare = keyed.worker("bare", insecure=True)
    foreign = keyed.worker("foreign", keys=tmp_path / "other" / "w9.key")
    plain = f"tcp://127.0.0.1:{free_port()}"
    keyed.ventilator(name="plain", bind=plain, ledger=tmp_path / "plain.sqlite")
    keyed_at_plain = worker(keyed, "w1", to=[plain])
    for process, said in {
        bare: "wants keys",
        foreign: "hangs up on these keys",
        keyed_at_plain: "runs without keys, and this|what listens there has none",
        keyed.processes["plain"]: "wants keys",
    }.items():
        keyed.until(lambda process=process: process.events("turned_away"), what=f"{process.name} says why")
        assert re.search(said, process.events("turned_away")[-1]["reason"])
    keyed.until(lambda: ventilator.events("peer_refused"), what="the ventilator says that somebody was kept out")
    assert not keyed.status()["workers"]


def test_second_ventilator_and_second_sink(keyed, tmp_path):
    """A ventilator that has only a key file follows the list of the first, and so do sinks that it alone feeds."""
    addresses = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("photos2", "sink2")}
    enroll = keyed.enrolment.enroll
    away = tmp_path / "away"
    away.mkdir()
    second = enroll("photos2", "ventilator", [addresses["photos2"]], keyed.address).rename(away / "photos2.key")
    sink2 = enroll("sink2", "sink", [addresses["sink2"]])
    both = enroll("both", "worker")
    photographs.tiny(tmp_path / "in", 30)
    photographs.tiny(tmp_path / "in2", 31)
    serve(keyed, tmp_path / "in", filter=["marked"])
    place = {"pictures": tmp_path / "p2", "db": f"sqlite:///{tmp_path}/r2.sqlite"}
    keyed.sink("sink2", bind=addresses["sink2"], keys=sink2, **place)
    keyed.ventilator(
        tmp_path / "in2", name="photos2", bind=addresses["photos2"], keys=second, filter=["marked"],
        ledger=tmp_path / "l2.sqlite", sink=[addresses["sink2"]],
    )  # fmt: skip
    keyed.worker("both", to=[keyed.address, addresses["photos2"]], keys=both)
    keyed.until(lambda: keyed.counts(tmp_path / "l2.sqlite")[State.STORED] == 31, what="the second's are stored")
    check_end(keyed, 30)
    assert len(keyed.rows(tmp_path / "r2.sqlite")) == 31
    keyed.enrolment.revoke("both")
    keyed.until(lambda: keyed.processes["sink2"].events("keys")[-1]["gone"] == ["both"], what="all put it out")
    assert keyed.processes["photos2"].events("keys")[-1]["gone"] == ["both"]
    keyed.expected.append("photos2.key was revoked")
    keyed.enrolment.revoke("photos2")
    assert keyed.processes["photos2"].wait() == 2, "a ventilator that is revoked itself gives nobody work any more"


def test_sink_that_is_revoked_ends_its_ventilator(keyed, tmp_path):
    """Nobody else can say where results go, so a ventilator whose sink is revoked ends with a sentence, and 2."""
    photographs.tiny(tmp_path / "in", 5)
    ventilator, _ = serve(keyed, tmp_path / "in")
    keyed.until(lambda: ventilator.events("sink_up"), what="the sink is there")
    keyed.expected.append("was revoked: name another with --sink")
    keyed.enrolment.revoke("sink")
    assert ventilator.wait() == 2
    assert re.search("the key of the sink .* was revoked", ventilator.said()[-1])


def test_workers_of_one_key_are_told_apart_after_a_restart(keyed, tmp_path):
    """Of three workers with one key each is welcomed once by a ventilator that was started again, and none is lost."""
    photographs.tiny(tmp_path / "in", 300)
    ventilator, _ = serve(keyed, tmp_path / "in", filter=["marked:work_ms=20"], beat_interval_ms=1000)
    names = ("a", "b", "c")
    for name in names:
        keyed.worker(name, keys=keyed.keys / "w1.key")
    keyed.until_joined(*names)
    keyed.until(lambda: keyed.counts()[State.STORED] > 3, what="some are stored")
    keyed.kill("ventilator")
    keyed.restart("ventilator")
    keyed.until_joined(*names)
    keyed.until_settled(300, 60.0)
    assert not ventilator.events("worker_gone")
    assert not ventilator.events("worker_silent")
    assert len(keyed.rows()) == 300
