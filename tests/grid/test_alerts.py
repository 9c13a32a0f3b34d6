"""The alert rules: each is raised by what it is for, and by nothing less. Prometheus' own promtool evaluates them."""

import json
import re
import subprocess
from typing import NamedTuple

import pytest
from watcher import MONITORING, program


class Case(NamedTuple):
    """A rule, series that raise it after ``after`` (minutes), and series that do not.

    Values are in promtool's words: ``0+1x10`` is 0, 1, ... 10, one each minute.
    """

    alert: str
    after: int
    bad: dict[str, str]
    good: dict[str, str]


V = 'job="zgrid", instance="v:1"'
JOBS = f'zgrid_jobs{{{V}, state="ready"}}'
WORKERS = f'zgrid_workers{{{V}, state="ready"}}'
STORED = f'zgrid_jobs_settled_total{{{V}, outcome="stored"}}'
BURIED = f'zgrid_jobs_settled_total{{{V}, outcome="buried"}}'
PAUSED = f"zgrid_paused{{{V}}}"


def commits(what, fast, slow):
    """Return the buckets of a histogram of commits: so many a minute of less than 5 ms, and so many of 5 to 10 s."""
    name = f"zgrid_{what}_commit_seconds"
    rates = {"0.005": fast, "5.0": fast, "10.0": fast + slow, "+Inf": fast + slow}
    return {f'{name}_bucket{{{V}, le="{bound}"}}': f"0+{rate}x60" for bound, rate in rates.items()}


def event(name, values):
    """Return a series of the events of the log."""
    return {f'zgrid_log_events_total{{{V}, event="{name}"}}': values}


def build(version):
    """Return the name of the series that tells which version runs."""
    return f'zgrid_build_info{{{V}, version="{version}"}}'


CASES = [
    Case("ZgridDown", 3, {f"up{{{V}}}": "0x10"}, {f"up{{{V}}}": "1x10"}),
    Case("ZgridNotReady", 11, {f"zgrid_ready{{{V}}}": "0x20"}, {f"zgrid_ready{{{V}}}": "0x5 1x20"}),
    Case("ZgridNoWorkers", 6, {JOBS: "7x20", WORKERS: "0x20", PAUSED: "0x20"}, {JOBS: "7x20", WORKERS: "1x20"}),
    Case("ZgridNoWorkers", 6, {JOBS: "7x20", WORKERS: "0x20"}, {JOBS: "7x20", WORKERS: "0x20", PAUSED: "1x20"}),
    Case("ZgridNothingSettled", 31, {JOBS: "7x40", STORED: "5x40"}, {JOBS: "7x40", STORED: "5+1x40"}),
    Case("ZgridNothingSettled", 31, {JOBS: "7x40", STORED: "5x40"}, {JOBS: "0x40", STORED: "5x40"}),
    Case("ZgridSinkAway", 3, {f"zgrid_sink_up{{{V}}}": "0x9"}, {f"zgrid_sink_up{{{V}}}": "1 0 1x9"}),
    Case("ZgridCannotStore", 5, event("disk_full", "0 1x9"), event("disk_full", "3x9")),
    Case("ZgridCannotStore", 5, event("store_failed", "0 1x9"), event("worker_gone", "0 1x9")),
    Case(
        "ZgridDiskFills", 31,
        {f'zgrid_disk_free_bytes{{{V}, place="ledger"}}': "20e9-2e7x60"},
        {f'zgrid_disk_free_bytes{{{V}, place="ledger"}}': "20e9-1e6x60"},
    ),
    Case(
        "ZgridDiskFills", 11,
        {f'zgrid_disk_free_bytes{{{V}, place="ledger"}}': "5e8x20"},
        {f'zgrid_disk_free_bytes{{{V}, place="ledger"}}': "5e9x20"},
    ),
    Case("ZgridJobsBuried", 3, {BURIED: "0 0 1 1"}, {BURIED: "1 1 1 1"}),
    Case("ZgridManyBuried", 12, {BURIED: "0+3x20", STORED: "0+10x20"}, {BURIED: "0+3x20", STORED: "0+100x20"}),
    Case("ZgridManyBuried", 12, {BURIED: "0+3x20", STORED: "0x20"}, {BURIED: "0x5 1x20", STORED: "0x20"}),
    Case(
        "ZgridChildrenDie", 10,
        {f'zgrid_child_deaths_total{{{V}, reason="died"}}': "0+1x20"},
        {f'zgrid_child_deaths_total{{{V}, reason="died"}}': "0 0 1 2 2x10"},
    ),
    Case("ZgridWorkersFlap", 10, event("worker_gone", "0+2x20"), event("worker_gone", "0 3x20")),
    Case("ZgridCommitsSlow", 16, commits("ledger", 50, 2), commits("ledger", 9, 0)),
    Case("ZgridCommitsSlow", 16, commits("sink", 50, 2), commits("sink", 9, 0)),
    Case(
        "ZgridSinkFull", 11,
        {f"zgrid_sink_held_bytes{{{V}}}": "95x20", f"zgrid_sink_held_limit_bytes{{{V}}}": "100x20"},
        {f"zgrid_sink_held_bytes{{{V}}}": "50x20", f"zgrid_sink_held_limit_bytes{{{V}}}": "100x20"},
    ),
    Case(
        "ZgridPeersWrong", 8,
        {f'zgrid_messages_dropped_total{{{V}, reason="wrong"}}': "0+1x20"},
        {f'zgrid_messages_dropped_total{{{V}, reason="full"}}': "0+1x20"},
    ),
]  # fmt: skip

LONG_CASES = [
    Case("ZgridPausedLong", 13 * 60, {PAUSED: "1x90"}, {PAUSED: "1x30 0x60"}),
    Case("ZgridPausedLong", 13 * 60, {f"zgrid_paused_chains{{{V}}}": "2x90"}, {f"zgrid_paused_chains{{{V}}}": "0x90"}),
    Case(
        "ZgridVersionsDiffer", 25 * 60,
        {build("1"): "1x150", build("2"): "1x150"}, {build("1"): "1x150", build("2"): "1x9"},
    ),
]  # fmt: skip
"""Those that take half a day or more: one value for ten minutes."""


def promtool(*words):
    """Run promtool and return what it printed; fails unless it is content."""
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unit(case, series, *, raised, step="1m"):
    """Return one of promtool's tests: whether the rule is raised by these series, with a value for each ``step``."""
    firing = f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if raised else []
    return {
        "interval": step,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": firing, "eval_time": f"{case.after}m", "exp_samples": expected}],
    }


@pytest.mark.parametrize(("cases", "step"), [(CASES, "1m"), (LONG_CASES, "10m")], ids=["short", "long"])
def test_each_rule_is_raised_by_what_it_is_for(cases, step, tmp_path):
    """Each rule fires on its bad series and not on its good ones."""
    (tmp_path / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    tests = [
        unit(case, series, raised=raised, step=step)
        for case in cases
        for series, raised in ((case.bad, True), (case.good, False))
    ]
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": ["alerts.yml"], "evaluation_interval": step, "tests": tests}))  # is YAML
    promtool("test", "rules", str(file))


def test_each_rule_has_a_case():
    """No rule is left out."""
    rules = re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    assert set(rules) == {case.alert for case in (*CASES, *LONG_CASES)}


def test_the_test_can_fail(tmp_path):
    """A rule that is not raised where a test expects it is found, so the test above shows something."""
    (tmp_path / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    test = unit(CASES[0], CASES[0].good, raised=True)
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": ["alerts.yml"], "tests": [test]}))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(tmp_path / "tests.yml"))


def test_the_files_are_right():
    """Prometheus reads rules and configuration as they are shipped, and each alarm says what to do."""
    assert "SUCCESS" in promtool("check", "config", str(MONITORING / "prometheus.yml"))
    rules = (MONITORING / "alerts.yml").read_text()
    for part in rules.split("- alert: ")[1:]:
        assert "summary: " in part
        assert len(re.search(r'description: "(.*)"', part)[1]) > 40, part
