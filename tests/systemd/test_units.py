"""The units on a real systemd: a whole grid, and what becomes of it when its parts die, hang, stop or cannot start."""

import json
import re

import pytest
from machine import ROLES

from zgrid.log import EVENTS
from zgrid.protocol.job import OPEN, State

pytestmark = [pytest.mark.grid, pytest.mark.timeout(300)]

FILTERS = "filter_module = ['filters_for_tests']\n"
EXPOSURE_MAX = 2.0
METRICS = {"ventilator": "127.0.0.1:9550", "worker": "127.0.0.1:9551", "sink": "127.0.0.1:9552"}


def start(machine):
    """Start everything; each unit is active when it says that it is ready."""
    machine.run("systemctl", "start", "zgrid.target")
    for role in ROLES:
        assert machine.unit(role)["ActiveState"] == "active", machine.journal(role)


def stop(machine):
    """Stop everything and wait until all of it has ended in order."""
    machine.run("systemctl", "stop", "zgrid.target", *ROLES.values())
    for role in ROLES:
        assert machine.unit(role)["ActiveState"] == "inactive", machine.journal(role)
        last = [json.loads(line)["event"] for line in machine.said(role)][-2:]
        assert last[-1] == "stopped", machine.journal(role)
    journal = machine.journal()
    assert "timed out" not in journal, journal
    assert "Failed with result" not in journal, journal


def test_a_grid_on_photographs(machine):
    """The three units store real photographs; systemd shows how they stand, the journal has JSON, stopping drains."""
    machine.grid("/srv/images/photographs")
    for role, place in METRICS.items():
        machine.set_up(role, f'metrics = "{place}"\n')
    start(machine)
    counts = machine.until_settled(24)
    rows = machine.images()
    assert len(rows) == counts[State.STORED] >= 4, machine.journal()
    assert not counts[State.BURIED], machine.journal()
    assert [machine.events(role, "keys")[0]["key"] for role in ("sink", "ventilator")] == ["sink", machine.name()]
    pictures = machine.path("/var/lib/zgrid/sink/pictures")
    assert {str(path.relative_to(pictures)) for path in pictures.glob("??/*")} == set(rows.values())
    tells = {
        "ventilator": r"0 jobs open, \d+\.\d settled/s, 1 workers",
        "worker": r"0 of 2 children busy, 0 jobs waiting, \d+\.\d images/s",
        "sink": rf"{len(rows)} stored, \d+\.\d images/s, 0 MiB waiting",
    }
    for role, told in tells.items():
        machine.until(lambda role=role, told=told: re.fullmatch(told, machine.unit(role)["StatusText"]), told)
    for role, place in METRICS.items():
        assert machine.page(place, "/healthz") == "alive\n"
        machine.until(lambda place=place: machine.page(place, "/readyz") == "ready\n", f"the {role} says it is ready")
        assert f'role="{role}"' in machine.page(place, "/metrics")
    assert f"zgrid_results_stored_total {len(rows)}.0\n" in machine.page(METRICS["sink"], "/metrics")
    stop(machine)
    for role in ROLES:
        lines = [json.loads(line) for line in machine.said(role)]
        assert {line["role"] for line in lines} == {role}
        assert {line["event"] for line in lines} <= EVENTS.keys()
        assert not [line for line in lines if line["level"] == "error"]
    assert len(machine.events("sink", "job_stored")) == len(rows)


def test_killed_is_started_again_and_nothing_is_lost(machine):
    """All of it is killed with -9 under load: systemd starts it again, and every image has one row in the end."""
    machine.grid("/srv/images/many", filter=["marked:work_ms=60"])
    machine.set_up("worker", FILTERS)
    start(machine)
    machine.until(lambda: len(machine.images()) >= 10, "some are stored")
    machine.kill(9)
    assert any(machine.counts()[state] for state in OPEN), "all was done before: that shows nothing"
    for role in ROLES:
        machine.until(lambda role=role: machine.restarted(role), f"the {role} is started again")
    counts = machine.until_settled(300)
    assert len(machine.images()) == counts[State.STORED] == 300
    assert {machine.unit(role)["NRestarts"] for role in ROLES} == {"1"}, machine.journal()


def test_hanging_is_noticed_by_the_watchdog(machine):
    """All roles hang: the watchdog has each say where, ends it and starts it again, and the jobs go on."""
    machine.grid("/srv/images/few", filter=["marked:work_ms=100"])
    machine.set_up("worker", FILTERS)
    for role in ROLES:
        machine.override(role, "WatchdogSec=6\nTimeoutAbortSec=3")
    start(machine)
    machine.kill("STOP")
    for role in ROLES:
        machine.until(lambda role=role: machine.restarted(role), f"the {role} is started again")
        journal = machine.journal(role)
        assert "Watchdog timeout" in journal, journal
        assert any("Fatal Python error: Aborted" in line for line in machine.said(role)), journal
    counts = machine.until_settled(6)
    assert len(machine.images()) == counts[State.STORED] == 6


def test_stopping_drains_for_as_long_as_it_takes(machine):
    """Stopped in the middle of long jobs, a worker finishes them, the sink stores them, and no attempt is lost."""
    machine.grid("/srv/images/few", filter=["marked:work_ms=4000"])
    machine.set_up("worker", f"stop_ms = 60_000\n{FILTERS}")
    machine.override("worker", "TimeoutStopSec=1")
    start(machine)
    busy = "2 of 2 children busy"
    machine.until(lambda: busy in machine.unit("worker")["StatusText"], busy)
    stored = len(machine.images())
    stop(machine)
    assert len(machine.images()) >= stored + 2
    assert any(machine.counts()[state] for state in OPEN), "all was done before it stopped: that shows nothing"
    start(machine)
    machine.until_settled(6)
    assert len(machine.images()) == 6
    assert machine.failures() == 0


WRONG = {
    "worker": ("", "is needed: the ventilators to work for"),
    "sink": ("bnd = 'tcp://*:5560'\n", "the key bnd is unknown; did you mean bind"),
    "ventilator": ("sink = ['tcp://here']\n", "sink in /etc/zgrid/ventilator/main.toml: 'tcp://here' is no address"),
}
"""Role -> settings that cannot be, and what is said of them."""


def test_a_wrong_setting_is_said_once_and_exposure_is_small(machine):
    """With a setting that cannot be, a unit has failed, the journal has one sentence, and nothing is tried again.

    And systemd itself finds little that the units could do besides their work, and nothing wrong in them.
    """
    for role, (settings, said) in WRONG.items():
        machine.set_up(role, settings)
        machine.run("systemctl", "start", ROLES[role], check=False)
        unit = machine.unit(role)
        assert (unit["ActiveState"], unit["SubState"]) == ("failed", "failed"), machine.journal(role)
        assert (unit["ExecMainStatus"], unit["NRestarts"]) == ("2", "0"), machine.journal(role)
        (line,) = machine.said(role)
        assert line.startswith("zgrid: ")
        assert said in line
    for role, unit in ROLES.items():
        told = machine.run("systemd-analyze", "security", "--no-pager", f"{unit}.service")
        exposure = float(re.search(r"Overall exposure level for \S+: (\d+\.\d)", told)[1])
        assert exposure <= EXPOSURE_MAX, f"{role}:\n{told}"
    assert machine.run("systemd-analyze", "verify", "--no-pager", *(f"{unit}.service" for unit in ROLES.values())) == ""
