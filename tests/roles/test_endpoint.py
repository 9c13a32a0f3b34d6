"""What a role answers over HTTP while it starts, works, lacks something, hangs and ends."""

import io
import json
import logging
import select
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest

from zgrid.log import configure
from zgrid.metrics.family import SINK
from zgrid.roles import endpoint as module
from zgrid.roles import notify as notify_module
from zgrid.roles.endpoint import Endpoint
from zgrid.roles.exposure import Stock
from zgrid.roles.notify import Notify
from zgrid.transport.loop import Loop

WITHIN_S = 20.0


class Rig:
    """A loop in a thread, with an endpoint. ``taken``: how often the loop took stock."""

    def __init__(self):
        handlers = logging.getLogger().handlers[:]
        self.loop = Loop()
        self.notify = Notify({}, asked=True)
        stream = io.StringIO()
        log = configure("sink", "s1", stream=stream)
        self.endpoint = Endpoint("127.0.0.1:0", "sink", "s1", SINK, self.loop, self.notify, log)
        logging.captureWarnings(capture=False)
        logging.getLogger().handlers[:] = handlers
        self.url = json.loads(stream.getvalue())["address"].removesuffix("/metrics")
        self.taken = 0
        self.lacking = ""
        self.at = None
        self._thread = Thread(target=self.loop.run)

    def run(self):
        """Let the loop turn, as roles do."""
        self.endpoint.begin(self._take, lambda: {"zgrid_disk_free_bytes": {("pictures",): 5.0}})
        self.loop.every(0.01, lambda: self.notify.alive(self.at))
        self.notify.ready()
        self._thread.start()

    def _take(self):
        self.taken += 1
        return Stock({"zgrid_faces_total": 3.0}, self.lacking)

    def get(self, path):
        """Return status and text of a page."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=WITHIN_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def until(self, path, status):
        """Ask again and again until a page has this status; return its text."""
        deadline = time.monotonic() + WITHIN_S
        poll = select.poll()
        while (said := self.get(path))[0] != status:
            assert time.monotonic() < deadline, f"{path} says {said}, and not {status}"
            poll.poll(10)
        return said[1]

    def close(self):
        """End it in the order of a role."""
        self.loop.stop()
        self.loop.wake()
        if self._thread.is_alive():
            self._thread.join(WITHIN_S)
        self.endpoint.close()
        self.loop.close()
        self.notify.close()


@pytest.fixture
def rig(monkeypatch):
    """An endpoint whose loop does not turn yet."""
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    rig = Rig()
    yield rig
    rig.close()


def test_while_it_starts(rig):
    """Before the loop turns, a role is alive and not ready, and tells what it is."""
    assert rig.get("/healthz") == (200, "alive\n")
    assert rig.get("/readyz") == (503, "starting\n")
    status, text = rig.get("/metrics")
    assert status == 200
    assert "zgrid_ready 0.0" in text
    assert 'zgrid_build_info{name="s1"' in text
    assert "zgrid_faces_total" not in text


def test_while_it_works(rig):
    """Ready, it tells what the loop and the disk say; what it lacks for a while is said, and stopping is not ready."""
    rig.run()
    assert rig.get("/readyz") == (200, "ready\n")
    text = rig.get("/metrics")[1]
    for line in ("zgrid_ready 1.0", "zgrid_faces_total 3.0", 'zgrid_disk_free_bytes{place="pictures"} 5.0'):
        assert line in text
    rig.lacking = "no ventilator is reached"
    assert rig.get("/readyz") == (503, "no ventilator is reached\n")
    assert "zgrid_ready 0.0" in rig.get("/metrics")[1]
    rig.lacking = ""
    rig.notify.stopping()
    assert rig.get("/readyz") == (503, "stopping\n")
    assert "zgrid_faces_total 3.0" in rig.get("/metrics")[1]


def test_a_crowd_costs_the_loop_one_look(rig, monkeypatch):
    """However many ask at the same time, the loop takes stock once for as long as that is fresh."""
    monkeypatch.setattr(module, "FRESH_S", 60.0)
    rig.run()
    with ThreadPoolExecutor(8) as pool:
        assert {status for status, _ in pool.map(rig.get, ["/metrics", "/readyz"] * 20)} == {200}
    assert rig.taken == 1


def test_when_the_loop_hangs(rig, monkeypatch):
    """A loop that does not turn is neither ready nor, after a while, alive; when it turns again it is both."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    rig.notify._hangs_s = 0.5
    go = Event()
    rig.run()
    rig.until("/healthz", 200)
    rig.loop.on_wake(lambda: go.wait(WITHIN_S))
    assert rig.until("/readyz", 503) == "the main loop does not answer\n"
    assert rig.get("/metrics") == (503, "the main loop does not answer\n")
    assert "the main loop has not turned for" in rig.until("/healthz", 503)
    go.set()
    assert rig.until("/healthz", 200) == "alive\n"
    rig.until("/readyz", 200)


def test_when_the_disk_hangs(rig):
    """A write that is under way for too long is told, though the loop turns; the next one that ends mends it."""
    assert notify_module.HANGS_S == 30.0
    rig.notify._hangs_s = 0.2
    rig.at = 7
    rig.run()
    assert "one write to disk has been under way for" in rig.until("/healthz", 503)
    assert rig.get("/readyz") == (200, "ready\n")
    rig.at = 8
    assert rig.until("/healthz", 200) == "alive\n"


def test_after_the_end(rig):
    """Nobody wakes a loop that is closed: its descriptor may be somebody else's."""
    rig.run()
    rig.endpoint.close()
    assert rig.endpoint._ask() == Stock({}, "ready")


def test_when_the_disk_says_nothing(rig, monkeypatch):
    """A look at a disk that hangs holds one connection, however many ask meanwhile; and the role is alive."""
    monkeypatch.setattr(module, "FRESH_S", 60.0)
    looks, go = Event(), Event()

    def look():
        looks.set()
        go.wait(WITHIN_S)
        return {}

    rig.run()
    rig.endpoint._look = look
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rig.get, "/metrics")
        try:
            assert looks.wait(WITHIN_S)
            monkeypatch.setattr(module, "PATIENCE_S", 0.05)
            for _ in range(20):
                assert rig.get("/metrics") == (503, "the disk does not answer\n")
            assert rig.get("/healthz") == (200, "alive\n")
        finally:
            go.set()
        assert first.result(WITHIN_S)[0] == 200
    assert rig.get("/metrics")[0] == 200
