"""Memory and file descriptors of every process of a grid, looked at again and again; and whether they grow."""

import os
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

from zgrid.store.sqlite import CACHE_BYTES

MIB = 1 << 20

RSS_MIB_MAX = {"ventilator": 160, "worker": 160, "sink": 200, "child": 1100, "finder": 80}
"""What each kind of process may ever have: the libraries that it needs, its caches (16 MiB of pages of each database),
and what is under way here, some thousand jobs of a kilobyte. Some images make a child take all that it may (1 GiB)."""

GROWTH_BYTES_MAX, GROWTH_SHARE_MAX = 16 * MIB, 0.15
"""How much a role may grow from the first third of a run to the last one, beside SQLite's cache of its database: the
allocator keeps what a backlog once needed. Only the first LIFE_S of each process count, for an old one has more than a
young one."""

LIFE_S, LIFE_WARM_S = 600.0, 120.0
"""A process that lived this long is looked at by itself, from when it is warm. A sink that is given pictures as fast as
it stores them grows to 119 MiB while it stores 40,000, and by 2 with 40,000 more."""

LIFE_BYTES_MAX = 12 * MIB
"""How much it may grow between the first and the last third of that, beside SQLite's cache of its database. That begins
empty and takes in what is written, which takes half an hour at 20 rows a second."""

FILES_GROWTH_MAX = 12
"""Descriptors come and go with peers (a lane, its monitor and its links are three for each worker); a leak of one for
each of hundreds of restarts passes this soon."""

BEGAN = 19
"""The field of /proc/PID/stat with the start of the process, counted from the one behind its name: see proc(5)."""

JUDGED_FROM_S = 240.0
"""In shorter runs most of the first third is the start of the processes: there only the bounds count."""


class Sample(NamedTuple):
    """One look at one process.

    ``life``: its number, and when it began (in ticks since the machine's start): an hour uses numbers again.
    ``cache_bytes``: the most that SQLite's cache of its database can have been, for it fills with what is there.
    """

    at_s: float
    role: str
    life: tuple[int, int]
    rss_bytes: int
    files: int
    cache_bytes: int = 0

    @property
    def own_bytes(self):
        """Return the memory beside that cache."""
        return self.rss_bytes - self.cache_bytes


class Vitals:
    """Looks at the processes of ``grid``, their children included. ``databases``: name of a process -> its file."""

    def __init__(self, grid, databases):
        self._grid = grid
        self._databases = databases
        self.samples = []

    def look(self, at_s):
        """Look at all that are there now."""
        for process in self._grid.processes.values():
            if process.alive:
                self._take(at_s, process.role, process.popen.pid, _cache_of(self._databases.get(process.name)))
                below = {"worker": "child", "ventilator": "finder"}.get(process.role)
                for pid in children_of(process.popen.pid) if below else ():
                    self._take(at_s, below, pid)

    def _take(self, at_s, role, pid, cache_bytes=0):
        try:
            began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[BEGAN])
            rss_bytes = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            files = len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return  # it went
        if rss_bytes:  # else it is only just being started, or nobody has seen its end yet
            self.samples.append(Sample(at_s, role, (pid, began), rss_bytes, files, cache_bytes))

    def thirds(self, seconds):
        """Return role -> (samples of the first third, samples of the last)."""
        found = defaultdict(lambda: ([], []))
        for one in self.samples:
            if one.at_s < seconds / 3:
                found[one.role][0].append(one)
            elif one.at_s >= 2 * seconds / 3:
                found[one.role][1].append(one)
        return dict(found)

    def table(self, seconds):
        """Return lines for people: min / median / max of each role, in the first third and in the last."""
        lines = []
        for role, (first, last) in sorted(self.thirds(seconds).items()):
            rss = [_spread([one.rss_bytes / MIB for one in some], "{:.0f}") for some in (first, last)]
            own = [_high(one.own_bytes for one in some) / MIB if some else 0 for some in (first, last)]
            files = [_spread([one.files for one in some], "{:.0f}") for some in (first, last)]
            lines.append(
                f"{role:<10} MiB {rss[0]} -> {rss[1]} (nine of ten, SQLite's cache apart: {own[0]:.0f} -> {own[1]:.0f})"
                f"   files {files[0]} -> {files[1]}"
            )
        return lines

    def write(self, path):
        """Write all samples, for whoever wants to see when something grew."""
        rows = (f"{one.at_s:.1f},{one.role},{one.life[0]},{one.life[1]},{one.rss_bytes},{one.files},{one.cache_bytes}\n"
                for one in self.samples)  # fmt: skip
        path.write_text("at_s,role,pid,began_ticks,rss_bytes,files,cache_bytes\n" + "".join(rows))

    def problems(self, seconds):
        """Return sentences about what has grown."""
        found = []
        for role, bound_mib in RSS_MIB_MAX.items():
            most = max((one.rss_bytes for one in self.samples if one.role == role), default=0)
            if most > bound_mib * MIB:
                found.append(f"a {role} had {most / MIB:.0f} MiB; {bound_mib} are the most that it may have")
        if seconds >= JUDGED_FROM_S:
            for role, (first, last) in self.thirds(seconds).items():
                found += _grown(role, self._young(first), self._young(last)) + _opened(role, first, last)
            found += self._lives()
        return found

    def _young(self, samples):
        """Return those samples that are of the first LIFE_S of their process."""
        seen_at = {one.life: one.at_s for one in reversed(self.samples)}
        return [one for one in samples if one.at_s - seen_at[one.life] < LIFE_S]

    def _lives(self):
        """Look at each long life by itself."""
        lives = defaultdict(list)
        for one in self.samples:
            lives[one.role, one.life].append(one)
        found = []
        for (role, (pid, _)), all_of_it in lives.items():
            warm = [one for one in all_of_it if one.at_s - all_of_it[0].at_s >= LIFE_WARM_S]
            third = len(warm) // 3
            if not third or all_of_it[-1].at_s - all_of_it[0].at_s < LIFE_S:
                continue  # too short a life, or hardly ever seen in it
            first, last = warm[:third], warm[-third:]
            by = median(one.rss_bytes for one in last) - median(one.rss_bytes for one in first)
            if by > LIFE_BYTES_MAX + last[-1].cache_bytes:
                found.append(f"{role} {pid} grew by {by / MIB:.1f} MiB in its life")
            files = median(one.files for one in last) - median(one.files for one in first)
            if files > FILES_GROWTH_MAX:
                found.append(f"{role} {pid} had {files:.0f} more open files in the end")
        return found


def children_of(pid):
    """Return the numbers of the children of a process; none when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _cache_of(path):
    """Return the most that SQLite can have of a file in memory."""
    try:
        return min(CACHE_BYTES, path.stat().st_size) if path else 0
    except OSError:
        return 0  # it is only being made


def _spread(values, how):
    if not values:
        return "-"
    return "/".join(how.format(value) for value in (min(values), median(values), max(values)))


def _high(values):
    """Return what nine of ten samples stay below: under faults half of them may be of processes that just start."""
    ordered = sorted(values)
    return ordered[len(ordered) * 9 // 10]


def _grown(role, first, last):
    """Say whether a role has grown too much."""
    if not first or not last:
        return []
    before, after = (_high(one.own_bytes for one in some) for some in (first, last))
    if after - before > max(GROWTH_BYTES_MAX, GROWTH_SHARE_MAX * before):
        return [f"the memory of {role} grew from {before / MIB:.0f} to {after / MIB:.0f} MiB, SQLite's cache apart"]
    return []


def _opened(role, first, last):
    """Say whether a role has more files open."""
    if not first or not last:
        return []
    before, after = (_high(one.files for one in some) for some in (first, last))
    if after - before > FILES_GROWTH_MAX:
        return [f"the open files of {role} grew from {before:.0f} to {after:.0f}"]
    return []
