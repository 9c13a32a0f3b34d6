"""How the processors of one machine are shared between the roles."""

import os
import subprocess
import sys
from pathlib import Path

import photographs
import pytest

from zgrid.protocol.job import State

pytestmark = [
    pytest.mark.grid,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such policy"),
]

SET_BEFORE = """
import os
from zgrid.roles.scheduling import interrupt_nobody
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
interrupt_nobody()
print(os.sched_getscheduler(0) == os.SCHED_IDLE)
"""

REFUSED = """
import errno, os
from zgrid.roles.scheduling import interrupt_nobody
def refuse(*_):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
os.sched_setscheduler = refuse
interrupt_nobody()
print(os.sched_getscheduler(0) == os.SCHED_OTHER)
"""


def policies(process):
    """Return the policies of all threads of a role's process and of its children."""
    tasks = [Path(f"/proc/{pid}/task") for pid in (process.popen.pid, *process.children())]
    return {os.sched_getscheduler(int(thread.name)) for task in tasks for thread in task.iterdir()}


def test_no_role_interrupts_another(grid, tmp_path):
    """All threads of every role, ZeroMQ's too, and of its children wait for a free processor."""
    photographs.tiny(tmp_path / "in", 3)
    roles = grid.ventilator(tmp_path / "in", filter=["null"]), grid.worker(procs=2), grid.sink()
    grid.until(lambda: grid.counts()[State.STORED] == 3, what="all are stored")
    for role in roles:
        assert policies(role) == {os.SCHED_BATCH}, role.name


@pytest.mark.parametrize("code", [SET_BEFORE, REFUSED])
def test_somebody_else_decides(code):
    """A policy that somebody has set stays, and a role whose wish is refused goes on."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"
