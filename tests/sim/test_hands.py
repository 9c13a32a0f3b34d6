"""What people do while things go wrong: the sink's row is the truth, and nothing that was put is lost."""

import pytest
from grid import Grid
from sink_process import SinkProcess
from ventilator_process import VentilatorProcess

from zgrid.protocol.job import State
from zgrid.store.rows import JobTerms


def test_a_row_at_the_sink_outlives_a_cancel() -> None:
    """Cancelled while its result was under way, and the sink's word lost with the ventilator: it is asked for again."""
    grid = Grid(3)
    grid.add_sink(store_s=1.0)
    ventilator = grid.add_ventilator({"keep": 4})
    grid.add_worker()
    grid.start()
    grid.run_until(lambda: bool(ventilator.machine.delivery.finished[0]))
    seq = next(iter(ventilator.machine.delivery.finished[0]))
    ventilator.call(ventilator.life, ventilator.hands.change, "cancel", [seq])
    grid.run_until(lambda: ventilator.ledger.counts()[State.CANCELLED] == 1 and ventilator.disk.idle)
    ventilator.crash()
    grid.run(3.0)
    assert ventilator.ledger.counts()[State.CANCELLED] == 1
    ventilator.start()
    grid.run_until(lambda: ventilator.ledger.counts()[State.STORED] == 4)
    grid.settle()


def with_one_on_its_way() -> tuple[Grid, SinkProcess, VentilatorProcess]:
    """Return a grid whose one job is finished, and its result on the way to a slow sink."""
    grid = Grid(4)
    sink = grid.add_sink(store_s=0.5)
    ventilator = grid.add_ventilator({"keep": 1})
    grid.add_worker()
    grid.start()
    grid.run_until(lambda: bool(ventilator.machine.delivery.finished[0]))
    return grid, sink, ventilator


@pytest.mark.parametrize(
    ("ahead_ms", "jump_ms"),
    [(0, 0), (0, 3_600_000), (0, -3_600_000), (-3_600_000, 10_800_000)],
    ids=["clock as it is", "forth", "back", "to and fro"],
)
def test_a_row_outlives_a_burial_though_the_word_of_it_is_lost(ahead_ms: int, jump_ms: int) -> None:
    """Nobody restarts: the sink is asked from time to time about what was closed without it a moment ago.

    A moment is one of true time, also where somebody sets the clock that dates it.
    """
    grid, sink, ventilator = with_one_on_its_way()
    ventilator.set_ms += ahead_ms
    ventilator.call(ventilator.life, ventilator.hands.change, "bury", [1])
    control = ventilator.sinks[0]
    control.cut()
    grid.run_until(lambda: len(sink.store.rows) == 1)
    assert ventilator.ledger.counts()[State.BURIED] == 1
    ventilator.set_ms += jump_ms
    control.connect()
    grid.run_until(lambda: ventilator.ledger.counts()[State.STORED] == 1)
    grid.settle()


def test_a_row_outlives_a_restart_with_another_clock_though_the_first_question_is_lost() -> None:
    """Buried an hour ago by its date, though it was just now: the sink is asked until its answer comes."""
    grid, sink, ventilator = with_one_on_its_way()
    ventilator.call(ventilator.life, ventilator.hands.change, "bury", [1])
    grid.run_until(lambda: ventilator.ledger.counts()[State.BURIED] == 1 and ventilator.disk.idle)
    ventilator.crash()
    ventilator.set_ms += 3_600_000
    ventilator.start()
    grid.run_until(lambda: ventilator.machine.sinks[0].up)
    grid.weather.hostile, grid.weather.loss = True, 1.0
    grid.run_until(lambda: len(sink.store.rows) == 1)
    grid.run(1.0)
    grid.weather.hostile = False
    grid.run_until(lambda: ventilator.ledger.counts()[State.STORED] == 1)
    grid.settle()


def test_paused_chain_keeps_its_jobs_and_no_others() -> None:
    """However many jobs of a paused chain stand in front, those of another are done; resumed, the rest is done, too."""
    grid = Grid(5)
    grid.add_sink()
    ventilator = grid.add_ventilator({"keep": 300})
    grid.add_worker()
    chain = ventilator.offers[0][1]
    grid.start()
    grid.run_until(lambda: bool(ventilator.machine.delivery.chains))
    ventilator.machine.delivery.pause(chain)
    grid.run(3.0)
    before = ventilator.ledger.counts()[State.STORED]
    offer = ventilator.offers[0][0]
    hands = ventilator.hands
    ventilator.call(
        ventilator.life, hands.accept, offer._replace(uri="file:///keep/put.jpg"), "faces", JobTerms(priority=9)
    )
    grid.run_until(lambda: ventilator.states().get("file:///keep/put.jpg") is State.STORED)
    assert ventilator.ledger.counts()[State.STORED] == before + 1
    grid.settle()
