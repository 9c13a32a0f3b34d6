"""Three hosts at work over CURVE, set up only with README's commands, while another host floods all of their ports."""

from contextlib import ExitStack

import pytest
from ends import check_end
from siege import DESCRIPTORS_MAX, GROWTH_MIB_MAX, MIB, Siege

from zgrid.protocol.job import State

pytestmark = [pytest.mark.grid, pytest.mark.timeout(240)]

JOBS = 500
ATTACK_S = 6


def test_uninvited_host_changes_nothing(tmp_path, record_property):
    """Garbage, captured bytes, floods and pretenders at every port: nothing is lost, let in, or filled."""
    with ExitStack() as stack:
        siege = Siege(stack, tmp_path, JOBS)
        stack.push(lambda kind, *_: siege.grid.end(failed=kind is not None))
        siege.grid.until(lambda: siege.stored() > 20, what="some are stored")
        before, _ = siege.look()
        done, _ = siege.attack(ATTACK_S)
        memory, descriptors = siege.look()
        print(f"{done}, door {siege.doors()}, bytes {before} -> {memory}, descriptors {descriptors}")
        record_property("uninvited host", str(done))
        check_end(siege.grid, JOBS, within_s=60.0)
        assert done["connections"] > 1000
        assert done["bytes"] > MIB
        assert not done["answers"], "somebody answered"
        assert siege.doors()["refused"], "no key was refused"
        assert all(memory[role] - before[role] < GROWTH_MIB_MAX * MIB for role in memory), (before, memory)
        assert max(descriptors.values()) < DESCRIPTORS_MAX
        ventilator = siege.grid.processes["ventilator"]
        assert {line["worker"] for line in ventilator.events("worker_joined")} == {"w1", "w2"}
        assert ventilator.events("peer_refused"), "nobody was told"
        assert len(ventilator.events("peer_refused")) < 50, "the log is flooded, too"
        assert {one.worker for one in siege.grid.history() if one.event == "finished"} == {"w1", "w2"}
        assert siege.grid.counts()[State.STORED] == JOBS
