"""Pause, resume and drain: kept over restarts, told in the status, and nothing is lost by any of them."""

import signal

import photographs
import pytest
from by_hand import await_answers, await_state, image, state_of

from zgrid import Client
from zgrid.errors import RefusedError
from zgrid.protocol.job import State

pytestmark = pytest.mark.grid


def test_pause_outlives_a_restart(grid, client):
    """A paused ventilator accepts and sends nothing, also after kill -9; resumed, it goes on. Both may be repeated."""
    grid.worker()
    grid.sink()
    assert client.pause(reason="noise") == client.pause() == {"paused": True, "paused_chains": []}
    job = client.put(image()).job
    grid.kill("ventilator")
    grid.restart("ventilator")
    grid.until_joined("w1")
    grid.until(lambda: client.status()["sinks"][0]["state"] == "up", what="the sink is there")
    status = client.status()
    assert (status["paused"], status["counts"]["ready"]) == (True, 1)
    assert any("paused" in one for one in status["waiting"])
    assert client.resume() == client.resume() == {"paused": False, "paused_chains": []}
    await_state(grid, client, job, "stored")


def test_pause_of_one_chain(grid, client):
    """Jobs of a paused chain wait while those of others are done, also after a restart; status says which."""
    grid.worker()
    grid.sink()
    other = "marked:work_ms=1"
    waits = client.put(image(), chain=other, delay_s=3600).job
    paused = {"paused": False, "paused_chains": [other]}
    assert client.pause(chain=other) == client.pause(chain=other) == paused
    assert client.kick(waits).changed == 1
    await_state(grid, client, client.put(image()).job, "stored")
    grid.kill("ventilator")
    grid.restart("ventilator")
    grid.until_joined("w1")
    await_state(grid, client, client.put(image()).job, "stored")
    assert state_of(client, waits) == "ready"
    chains = {one["chain"]: one for one in client.status()["chains"]}
    assert [chain for chain, one in chains.items() if one["paused"]] == [other]
    assert chains[other]["counts"]["ready"] == chains[other]["workers"] == 1
    assert chains[other]["oldest_ready_ms"] > 0
    assert any(other in one and "paused" in one for one in client.status()["waiting"])
    client.resume(chain=other)
    await_state(grid, client, waits, "stored")
    assert client.status()["paused_chains"] == []


def test_drain_ends_with_0_and_is_over(grid, client, tmp_path):
    """A drained ventilator refuses images, settles what it has, and ends with 0; the next start is like any other."""
    go = tmp_path / "go"
    ventilator = grid.processes["ventilator"]
    grid.worker(procs=2)
    grid.sink()
    job = await_state(grid, client, client.put(image(f"wait {go}")).job, "sent")
    client.put(image("fail bad"))
    assert client.drain() == {"draining": True, "open": 2} or client.drain()["open"] == 1
    with pytest.raises(RefusedError, match="draining"):
        client.put(image())
    grid.kill("ventilator")  # and it drains on
    grid.restart("ventilator")
    await_answers(grid)
    assert client.status()["draining"]
    with pytest.raises(RefusedError, match="draining"):
        client.put(image())
    go.touch()
    assert ventilator.wait() == 0
    counts = grid.counts()
    assert (counts[State.STORED], counts[State.BURIED], counts[State.READY]) == (1, 1, 0)
    assert ventilator.events("settled")
    grid.restart("ventilator")
    await_answers(grid)
    assert not client.status()["draining"]
    assert state_of(client, job) == "stored"
    await_state(grid, client, client.put(image()).job, "stored")


def test_drain_says_what_it_waits_for(grid, client):
    """A drain with paused and delayed jobs says so, and how to go on; when they are dealt with it ends."""
    grid.worker()
    grid.sink()
    grid.until_joined("w1")
    client.pause()
    client.put(image())
    late = client.put(image(), delay_s=3600).job
    assert client.drain()["open"] == 2
    waiting = "\n".join(client.status()["waiting"])
    assert "the drain waits for what is paused" in waiting
    assert "the drain waits for delayed jobs" in waiting
    client.resume()
    assert client.cancel(late).changed == 1
    assert grid.processes["ventilator"].wait() == 0
    assert grid.counts()[State.STORED] == 1


def test_drain_leaves_the_sources_alone(grid, tmp_path):
    """What a source still has when a drain begins is left, and found by the next start."""
    photographs.tiny(tmp_path / "in", 3000)
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked"])
    grid.until(lambda: sum(grid.counts().values()) > 0, what="the first are accepted")
    with Client(grid.address, 20_000) as client:
        client.drain()
        grid.kill("ventilator")
        grid.restart("ventilator")
        await_answers(grid)
        accepted = sum(grid.counts().values())
        assert not client.status()["scanning"]
        assert client.cancel(source="*").changed == accepted
    assert ventilator.wait() == 0
    assert not [line for line in ventilator.events("scan_finished") if line["accepted"] > accepted]
    grid.restart("ventilator")
    grid.until(lambda: sum(grid.counts().values()) == 3000, what="all the rest is found")


def test_ventilator_without_sources_stays(grid, client):
    """A ventilator that has nothing to do stays and takes what is put; asked to stop, it ends with 0."""
    assert client.status()["scanning"] is False
    assert client.put(image()).known is False
    assert grid.kill("ventilator", signal.SIGTERM) == 0
