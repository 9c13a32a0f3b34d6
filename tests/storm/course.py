"""One chaos run from its arguments to its exit status: the disks, the storm, the verdict, and the table at the end."""

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from hub import Hub
from plan import plan
from small_disks import Disks
from storm import HOSTS, Storm, log_files, space_of
from verdict import Verdict
from vitals import MIB

from zgrid.protocol.job import State
from zgrid.transport.enrolment import Enrolment
from zgrid.transport.keyring import read_key

PROBLEMS_SHOWN_MAX = 40


def run(minutes, seed, keep=None, *, with_keys=False):
    """Run the plan of a seed for so long; print what happens, and return whether all was well."""
    folder = Path(keep or tempfile.mkdtemp(prefix="zgrid-chaos-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "plan.txt").open("w") as told, ExitStack() as stack:
        say = _speaker(told)
        again = f"scripts/chaos --minutes {minutes:g} --seed {seed}{' --with-keys' * with_keys}"
        say(f"{again}   (everything is in {folder})")
        homes = _disks(folder, minutes * 60, stack, say)
        hub = _hub(stack, say)
        storm = Storm(folder, seed, minutes * 60, say, homes, hub)
        if with_keys:
            _give_keys(storm.grid, folder / "keys", stack)
        elif hub:
            _do_without_keys(storm.grid, stack)
        problems = ["it did not come to its end"]
        try:
            problems, lines = _course(storm)
        except KeyboardInterrupt:
            storm.broken_off = True
            say(f"broken off: nothing was checked; everything is in {folder}")
            raise
        finally:
            storm.given_up.set()
            storm.over.set()
            storm.grid._kill_all()
            storm.calm()
            storm.vitals.write(folder / "vitals.csv")
            for name, (home, _) in homes.items() if problems or keep else ():
                shutil.copytree(home, folder / f"{name}-kept", dirs_exist_ok=True)
        for line in lines:
            say(line)
        _say_problems(problems, again, folder, say)
    if not problems and keep is None:
        shutil.rmtree(folder)
    return not problems


def _give_keys(grid, folder, stack):
    """Make the keys of a grid, one of each role, and have everything that is started use them."""
    enrolment = Enrolment(folder)
    enrolment.init("chaos")
    enrolment.enroll("worker", "worker")
    grid.key = read_key(folder / "operator.key")
    grid.environment["ZGRID_KEYS"] = os.environ["ZGRID_KEYS"] = str(folder)
    stack.callback(os.environ.pop, "ZGRID_KEYS")


def _do_without_keys(grid, stack):
    """Have everything that is started talk to other hosts without keys, and us as well."""
    grid.environment["ZGRID_INSECURE"] = os.environ["ZGRID_INSECURE"] = "true"
    stack.callback(os.environ.pop, "ZGRID_INSECURE")


def _speaker(told):
    lock = threading.Lock()

    def say(line):
        with lock:
            print(line, flush=True)
            told.write(line + "\n")
            told.flush()

    return say


def _disks(folder, seconds, stack, say):
    """Return small disks for ledgers and sink: name -> (folder, bytes); none where they cannot be mounted."""
    try:
        disks = Disks(stack)
        sizes = space_of(seconds)
        return {name: (disks.small(folder / f"{name}-disk", size), size) for name, size in sizes.items()}
    except pytest.skip.Exception as error:
        say(f"no full disks and no read-only pictures in this run: {error}")
        return {}


def _hub(stack, say):
    """Return a network with a host for each process; none where there cannot be one."""
    try:
        with ExitStack() as own:
            hub = Hub(own, *HOSTS)
            stack.push(own.pop_all())
            return hub
    except pytest.skip.Exception as error:
        say(f"no cut and no bad links in this run: {error}")
        return None


def _course(storm):
    """Do all of it; return the problems, and the lines of the summary."""
    storm.begin()
    storm.blow(plan(storm.seed, storm.seconds))
    settled = storm.settle()
    took_s = storm.now_s
    if settled:
        storm.sweep()
        storm.rest()
    storm.end()
    verdict = Verdict(storm)
    problems = storm.problems + verdict.check()
    return problems, _summary(storm, verdict, took_s)


def _say_problems(problems, again, folder, say):
    for problem in problems[:PROBLEMS_SHOWN_MAX]:
        say(f"PROBLEM: {problem}")
    if len(problems) > PROBLEMS_SHOWN_MAX:
        say(f"... and {len(problems) - PROBLEMS_SHOWN_MAX} more")
    if problems:
        say(f"{len(problems)} problems; everything is in {folder}; again: {again}")
    else:
        say("all is well")


def _summary(storm, verdict, took_s):
    """Return the lines of the table at the end."""
    states = {state.name.lower(): verdict.states[state] for state in State if state.name.lower() in _CLOSED}
    accepted = sum(verdict.states.values())
    feeders, meddlers = storm.feeders.values(), storm.meddlers.values()
    starts = {name: number - 1 for name, number in sorted(storm.starts.items())}
    samples = storm.vitals.samples
    rss = {role: max(one.rss_bytes for one in samples if one.role == role) for role in {one.role for one in samples}}
    rows = {
        "minutes": f"{storm.seconds / 60:.1f}, and {took_s - storm.seconds:.0f} s to settle",
        "accepted": accepted,
        **states,
        "jobs/s": f"{accepted / took_s:.1f}",
        "sent": verdict.figures["sent"],
        "rows, pictures": f"{verdict.figures['rows']}, {verdict.figures['pictures']}",
        "faults": sum(storm.faults.values()),
        **{f"- {kind} {part}": number for (kind, part), number in sorted(storm.faults.items())},
        "left out": sum(storm.skipped.values()),
        "started again": ", ".join(f"{name} {number}" for name, number in starts.items()),
        "ended by themselves": sum(storm.ends.values()),
        "operations by hand": _added(meddlers, "done"),
        "jobs changed by hand": _added(meddlers, "changed"),
        "puts unanswered, refused, repeated": ", ".join(
            str(sum(getattr(one, name) for one in feeders)) for name in ("unanswered", "refused", "repeated")
        ),
        "longest stall": f"{storm.longest_stall_s:.1f} s, from {storm.stalled_at_s:.0f} s on",
        "good images buried after crashes": verdict.figures["good images buried after crashes"],
        "largest memory": ", ".join(f"{role} {size / MIB:.0f} MiB" for role, size in sorted(rss.items())),
        "logs": f"{sum(path.stat().st_size for path in log_files(storm.grid.folder)) / MIB:.1f} MiB",
    }
    lines = ["", "| what | how many |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows.items()), ""]
    lines += ["min/median/max in the first third -> in the last:", *storm.vitals.table(storm.seconds), "", "warnings:"]
    lines += [f"  {number:7} {role} {event}" for (role, event), number in sorted(verdict.warnings.items())]
    lines += [f"  {number:7} {text}" for text, number in sorted((storm.ends + storm.notes).items())]
    return [*lines, "", _in_a_sentence(storm, states, accepted)]


def _in_a_sentence(storm, states, accepted):
    """Return the run in the words of README's part about reliability."""
    kinds = Counter()
    for (kind, _), number in storm.faults.items():
        kinds[_CALLED[kind]] += number
    ends = " + ".join(f"{number:,} {state}" for state, number in states.items())
    strikes = ", ".join(f"{number} x {kind}" for kind, number in sorted(kinds.items()))
    return (
        f"{storm.seconds / 60:g} minutes, seed {storm.seed}: {accepted:,} jobs accepted = {ends}; "
        f"{sum(kinds.values())} strikes ({strikes})"
    )


_CALLED = {
    "kill": "kill -9", "stop": "SIGSTOP", "restart": "SIGTERM", "lock": "locked database", "fill": "full disk",
    "strangers": "garbage", "clock": "clock set by an hour", "cut": "cut link", "bad": "bad network",
    "readonly": "read-only pictures",
}  # fmt: skip


_CLOSED = ("stored", "discarded", "buried", "cancelled")


def _added(meddlers, name):
    totals = {}
    for one in meddlers:
        for verb, number in getattr(one, name).items():
            totals[verb] = totals.get(verb, 0) + number
    return ", ".join(f"{verb} {number}" for verb, number in totals.items())


def random_seed():
    """Return a seed that nobody has asked for."""
    return time.time_ns() // 1000 % 1_000_000
