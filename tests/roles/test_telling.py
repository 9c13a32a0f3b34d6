"""Lines that may come again and again: one a minute, counted, and the last word is never lost."""

import io
import json
import logging

import pytest

from zgrid.log import Event, configure
from zgrid.protocol import effects as fx
from zgrid.roles.telling import SUBJECTS_MAX, Telling


class Rig:
    """A telling whose clock stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0
        self.stream = io.StringIO()
        self.telling = Telling(configure("ventilator", "v1", stream=self.stream), lambda: self.now)

    def lines(self):
        """Return the lines since the last time."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        self.stream.seek(0)
        self.stream.truncate()
        return lines

    def say(self, event, subject="w1", **fields):
        """Say it as a machine does."""
        self.telling.tell(fx.Log(event, subject, {"worker": subject, **fields}))


@pytest.fixture
def rig():
    """A telling with a clock of its own; logging is as it was afterwards."""
    handlers = logging.getLogger().handlers[:]
    yield Rig()
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = handlers


def test_a_peer_that_flaps_is_one_line_a_minute_with_a_count(rig):
    """Ten minutes of coming and going every second are a line a minute of each kind, and none goes uncounted."""
    for second in range(600):
        rig.say("worker_gone" if second % 2 else "worker_joined", lane=second)
        rig.telling.catch_up()
        rig.now += 1.0
    rig.telling.catch_up(at_once=True)
    lines = rig.lines()
    for event in ("worker_gone", "worker_joined"):
        mine = [line for line in lines if line["event"] == event]
        assert len(mine) in {10, 11}
        assert sum(1 + line.get("count", 0) for line in mine) == 300
    assert {line["level"] for line in lines if line["event"] == "worker_gone"} == {"warning"}


def test_subjects_do_not_hold_each_other_back(rig):
    """Another worker's line, and another event of the same worker, are lines of their own."""
    for worker in ("w1", "w2", "w1"):
        rig.say("worker_gone", worker)
    rig.say("worker_joined", "w1")
    assert [(line["event"], line["worker"]) for line in rig.lines()] == [
        ("worker_gone", "w1"),
        ("worker_gone", "w2"),
        ("worker_joined", "w1"),
    ]


def test_the_last_word_comes_after_a_minute_even_if_nothing_follows(rig):
    """A worker that came, went, came and went is not left as one that is here; the line says how long ago it was."""
    rig.say("worker_joined", lane=1)
    rig.say("worker_gone", lane=1)
    rig.now += 10.0
    rig.say("worker_joined", lane=2)
    rig.now += 20.0
    rig.say("worker_gone", lane=2)
    rig.lines()
    rig.now += 29.9
    rig.telling.catch_up()
    assert rig.lines() == []
    rig.now += 0.2
    rig.telling.catch_up()
    joined, gone = rig.lines()
    assert [joined["event"], joined["lane"], joined["ago_s"]] == ["worker_joined", 2, 50.1]
    assert [gone["event"], gone["lane"], gone["ago_s"]] == ["worker_gone", 2, 30.1]
    assert "count" not in joined
    rig.now += 600.0
    rig.telling.catch_up()
    assert rig.lines() == []


def test_a_process_that_ends_leaves_nothing_untold(rig):
    """At the end every count is written, the last of what was held back first in the order in which it happened."""
    for lane in range(5):
        rig.say("worker_joined", lane=lane)
        rig.say("worker_gone", lane=lane)
    rig.telling.complain("aabb", "it is no message")
    rig.lines()
    rig.telling.catch_up(at_once=True)
    joined, gone = rig.lines()
    assert (joined["event"], joined["lane"], joined["count"]) == ("worker_joined", 4, 3)
    assert (gone["event"], gone["lane"], gone["count"]) == ("worker_gone", 4, 3)
    rig.telling.catch_up(at_once=True)
    assert rig.lines() == []


@pytest.mark.parametrize("event", [Event.CHAIN_WAITING, Event.DISK_FULL, Event.STORE_FAILED])
def test_what_lasts_is_not_told_after_it_is_over(rig, event):
    """A full disk is said again and again while it is full; once a minute is enough, and afterwards nothing."""
    for _ in range(1000):
        rig.telling.say(event, "here", {"reason": "so it is"})
        rig.now += 0.1
    rig.telling.catch_up(at_once=True)
    first, second = rig.lines()
    assert "count" not in first
    assert 590 <= second["count"] <= 600


def test_many_names_do_not_make_it_grow(rig):
    """A hostile peer with ever new names fills no memory, and what is forgotten is not told for ever."""
    for number in range(5000):
        for _ in range(2):
            rig.telling.complain(f"peer {number}", "it is no message")
    assert len(rig.telling._held) == SUBJECTS_MAX
    rig.lines()
    rig.telling.catch_up(at_once=True)
    assert len(rig.lines()) == SUBJECTS_MAX
    assert not rig.telling._held


def test_everything_is_counted(rig):
    """What is held back counts as well as what is written."""
    for _ in range(3):
        rig.say("worker_gone")
    rig.telling.complain("w2", "it talks nonsense")
    assert rig.telling.counts == {Event.WORKER_GONE: 3, Event.PEER_ERROR: 1}
