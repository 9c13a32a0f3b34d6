"""What ``zgrid top`` shows, for any answer and any size, without a terminal or a grid."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from zgrid.cli.board import SORTS, Look, Sight, board


def worker(number, **more):
    """Return a worker as a ventilator tells of it."""
    running = [{"job": 1000 * number + job, "progress": job / 10, "for_ms": 1000 * job} for job in range(number % 9)]
    return {
        "name": f"worker-{number:03}", "procs": 4, "state": "ready", "sent": number, "unstarted": number // 2,
        "unsettled": 1, "done": 10 * number, "rate_per_s": 1.5 * number, "beat_age_ms": 100 * number,
        "running": running, "finished": 10 * number, "discarded": 0, "failed": number % 5, "troubled": 0,
        "crashed": number % 3, "overran": 0, "credit": 8, "work_ms": 2.5 * number, **more,
    }  # fmt: skip


def ventilator(workers=3, chains=1):
    """Return the status of a ventilator."""
    counts = {"ready": 700, "stored": 1200, "discarded": 3, "buried": 2, "sent": 9}
    chain = {"chain": "faces", "counts": counts, "workers": 3, "paused": False, "oldest_ready_ms": 5000}
    return {
        "version": "1", "name": "photos", "chain": "faces", "uptime_ms": 60_000, "counts": counts, "accepted": 1914,
        "scanning": False, "rate_per_s": 12.5, "paused": False, "draining": False,
        "chains": [{**chain, "chain": f"faces:score=0.{number}"} for number in range(chains)],
        "workers": [worker(number) for number in range(1, workers + 1)],
        "sinks": [{"address": "tcp://results:5560", "state": "up", "unsettled": 4}], "waiting": [],
    }  # fmt: skip


def drawn(answers, width=80, height=None, **look):
    """Return the lines of the board for these answers."""
    sights = [Sight(f"tcp://v{place}:5550", 0.0, answer, None, (1.0, 2.0, 3.0)) for place, answer in enumerate(answers)]
    console = Console(width=width, height=height or 500, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(board(sights, 10.0, Look(width, height, **look)), crop=False)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 100, 120, 300])
@pytest.mark.parametrize("height", [3, 8, 10, 24, 60])
@pytest.mark.parametrize("addresses", [1, 2, 7])
@pytest.mark.parametrize("workers", [0, 3, 200])
def test_every_size_is_kept(width, height, addresses, workers):
    """Whatever there is to see, it is no wider and no higher than the terminal, and the last line says the keys."""
    lines = drawn([ventilator(workers, 8)] * addresses, width, height, foot="q quit")
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert lines[-1].rstrip() == "q quit"
    assert any("photos" in line for line in lines)


def test_workers_that_have_no_line_are_counted():
    """With more workers than lines the last line tells how many more there are; the order decides who is seen."""
    lines = drawn([ventilator(50)], 80, 24, sort="pace")
    assert any("worker-050" in line for line in lines)
    assert any("+33 more" in line for line in lines)
    assert len(lines) == 24
    two = drawn([ventilator(50), ventilator(2)], 80, 30)
    assert sum("worker-" in line for line in two) == 16
    assert not any("worker-050" in line for line in two)


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("name", "worker-001"),
        ("pace", "worker-007"),
        ("jobs", "worker-007"),
        ("failed", "worker-005"),
        ("beat", "worker-007"),
    ],
)
def test_orders(sort, first):
    """Each order puts the worker first that it is about."""
    workers = [*[worker(number) for number in (3, 7, 1)], worker(5, failed=90)]
    lines = drawn([{**ventilator(), "workers": workers}], sort=sort)
    assert next(line for line in lines if "worker-" in line).startswith(first)


def test_what_is_out_of_order_is_seen():
    """A pause, a drain, chains that wait, a sink that is away, workers that fail or are silent, and nobody at work."""
    chains = [{"chain": "night", "counts": {"ready": 3}, "workers": 0, "paused": True}, {"chain": "day", "counts": {}}]
    sinks = [{"address": "tcp://results:5560", "state": "away", "unsettled": 7}]
    marks = dict.fromkeys(("paused", "draining", "scanning"), True)
    answer = {**ventilator(0), **marks, "chains": chains, "sinks": sinks, "waiting": ["chain night: it is paused"]}
    text = "\n".join(drawn([answer], 120))
    assert "PAUSED  DRAINING  SCANNING" in text
    assert "chain night  PAUSED" in text
    assert "waiting: chain night: it is paused" in text
    assert "away · 7 unsettled" in text
    assert "no worker is here; start one with: zgrid worker tcp://v0:5550" in text
    assert "buried 2" in text


def test_credit_and_latency_where_there_is_room():
    """A wide board tells how many jobs each worker may have and how long one image takes it."""
    heads, first, *_, last = [line for line in drawn([ventilator(20)], 140) if line.startswith("worker")]
    assert re.findall("credit|one takes", heads) == ["credit", "one takes"]
    assert re.search(r"  8 +2\.5 ms ", first)
    assert re.search(r"  8 +50 ms ", last)


def test_an_older_ventilator_is_shown_too():
    """What an answer has not is a zero or a dash, and nothing fails."""
    text = "\n".join(drawn([{"name": "old", "workers": [{"name": "w"}], "counts": {"ready": 1}}, {}]))
    assert "old  tcp://v0:5550" in text
    assert "ready 1" in text


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=6,
)
KEYS = sorted({*ventilator(), *worker(1), *ventilator()["counts"], "role", "faces", "held_bytes", "job", "progress"})
ODD = st.dictionaries(
    st.sampled_from(KEYS), PLAIN | st.lists(st.dictionaries(st.sampled_from(KEYS), PLAIN), max_size=3)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=2), st.sampled_from(list(SORTS)), st.booleans(), st.integers(3, 40))
def test_any_answer_can_be_shown(answers, sort, plain_letters, height):
    """Whatever another process says, it is shown within the terminal, and none of it can steer it."""
    lines = drawn(answers, 80, height, sort=sort, plain=plain_letters)
    assert len(lines) <= height
    assert all(letter.isprintable() for line in lines for letter in line)
