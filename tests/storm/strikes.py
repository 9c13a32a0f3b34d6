"""How each fault of the plan is done to a grid of real processes, and undone."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import skewed
import small_disks
import zmq
from strangers import chatter, listening_ports, rubbish, throw

SHRINK_TRIES = 20
CHATTER_MESSAGES = 60
HOUR_MS = 3_600_000
BAD_DELAY_MS, BAD_LOSS_PERCENT = 200, 5
"""What a bad link does to each packet, each way."""


class Strikes:
    """Performs faults. ``strike`` returns what undoes one, or None; it raises SkippedError where one cannot be now."""

    def __init__(self, storm):
        self.storm = storm
        self.grid = storm.grid
        self._how = {
            "kill": self._kill,
            "stop": self._stop,
            "restart": self._restart,
            "lock": self._lock,
            "fill": self._fill,
            "strangers": self._strangers,
            "clock": self._clock,
            "readonly": self._readonly,
            "cut": self._cut,
            "bad": self._bad,
        }

    def strike(self, fault):
        """Do it."""
        return self._how[fault.kind](fault)

    # -- processes

    def _process(self, fault):
        process = self.grid.processes[fault.victim]
        if not process.alive:
            raise SkippedError(f"{fault.victim} is down")
        return process

    def _child(self, fault):
        """Return the number of a child process of a worker."""
        children = self._process(fault).children()
        if not children:
            raise SkippedError(f"{fault.victim} has no child now")
        return children[fault.which % len(children)]

    def _kill(self, fault):
        if fault.part == "child":
            with suppress(ProcessLookupError):
                os.kill(self._child(fault), signal.SIGKILL)
            return
        process = self._process(fault)
        self.storm.falls(fault.victim, "kill", fault.lasts_s)
        process.send(signal.SIGKILL)
        process.popen.wait()

    def _stop(self, fault):
        pid = self._child(fault) if fault.part == "child" else self._process(fault).popen.pid
        if pid in self.storm.stopped:
            raise SkippedError(f"{fault.victim} is stopped already")
        began = began_at(pid)
        if began is None:
            raise SkippedError(f"{fault.victim} went")
        os.kill(pid, signal.SIGSTOP)
        self.storm.stopped.add(pid)

        def resume():
            self.storm.stopped.discard(pid)
            if began_at(pid) == began:  # not another process with its number
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        return resume

    def _restart(self, fault):
        process = self._process(fault)
        if process.popen.pid in self.storm.stopped or fault.victim in self.storm.falling:
            raise SkippedError(f"{fault.victim} is stopped or stops already")
        self.storm.falls(fault.victim, "restart", fault.lasts_s)
        process.send(signal.SIGTERM)

    # -- disks

    def _lock(self, fault):
        other = sqlite3.connect(self.grid.database, isolation_level=None, timeout=0.5)
        try:
            other.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            other.close()
            raise SkippedError(str(error)) from error
        self.storm.troubles.append(fault)

        def unlock():
            self.storm.troubles.remove(fault)
            other.close()

        return unlock

    def _fill(self, fault):
        home = self.storm.homes.get("sink" if fault.part == "sink" else fault.victim)
        if home is None:
            raise SkippedError(NO_DISKS)
        folder, size_bytes = home
        if folder in self.storm.full:
            raise SkippedError("it is full already")
        self.storm.full.add(folder)
        shrink(folder)
        self.storm.troubles.append(fault)

        def free():
            self.storm.troubles.remove(fault)
            self.storm.full.discard(folder)
            resize(folder, size_bytes)

        return free

    def _readonly(self, fault):
        """Let nobody write to the sink's folder of pictures."""
        folder = self.grid.pictures_folder
        if not self.storm.homes:
            raise SkippedError(NO_DISKS)
        if folder in self.storm.protected:
            raise SkippedError("it is read-only already")
        if not folder.is_dir():
            raise SkippedError("it is not there yet")
        try:
            small_disks.protect(folder)
        except pytest.skip.Exception as error:
            raise SkippedError(str(error)) from error
        self.storm.protected.add(folder)
        self.storm.troubles.append(fault)

        def release():
            small_disks.release(folder)
            self.storm.troubles.remove(fault)
            self.storm.protected.discard(folder)

        return release

    # -- the network

    def _hub(self):
        if self.storm.hub is None:
            raise SkippedError("there is no network of our own here")
        return self.storm.hub

    def _cut(self, fault):
        """Lose all packets from and to the victim, which nobody is told of."""
        hub = self._hub()
        if fault.victim in self.storm.cut:
            raise SkippedError("it is cut already")
        self.storm.cut.add(fault.victim)
        hub.cut(fault.victim)

        def mend():
            self.storm.cut.discard(fault.victim)
            hub.mend(fault.victim)

        return mend

    def _bad(self, fault):
        """Delay all packets, and lose some."""
        hub = self._hub()
        if self.storm.network_is_bad:
            raise SkippedError("they are bad already")
        self.storm.network_is_bad = True
        hub.worsen(BAD_DELAY_MS, BAD_LOSS_PERCENT)

        def ease():
            self.storm.network_is_bad = False
            hub.ease()

        return ease

    # -- clocks

    def _clock(self, fault):
        """Set the wall clock of all processes, forth or back, until somebody sets it right."""
        skewed.set_ahead(self.storm.ahead, HOUR_MS if fault.which % 2 else -HOUR_MS)
        return lambda: skewed.set_ahead(self.storm.ahead, 0)

    # -- strangers

    def _strangers(self, fault):
        """Send garbage to every port of the victim, from peers that do not speak ZeroMQ and from some that do."""
        process = self._process(fault)
        if process.popen.pid in self.storm.stopped:
            raise SkippedError(f"{fault.victim} is stopped")
        chance = random.Random(fault.which)
        with self.storm.at(fault.victim):  # they are near, whatever its link is like now
            for port in sorted(listening_ports(process.popen.pid)):
                self._tease(chance, self.storm.host(fault.victim), port)

    def _tease(self, chance, host, port):
        with suppress(OSError):
            throw(port, chance.choice(rubbish(chance)), host)
        with zmq.Context() as context, context.socket(chance.choice((zmq.DEALER, zmq.PUSH))) as stranger:
            stranger.linger = 200
            stranger.sndtimeo = 200
            stranger.connect(f"tcp://{host}:{port}")
            with suppress(zmq.Again):
                for frames in chatter(chance, CHATTER_MESSAGES):
                    stranger.send_multipart(frames)


NO_DISKS = "there are no disks of our own here"


class SkippedError(Exception):
    """A fault cannot be done now, and why."""


def began_at(pid):
    """Return when a process was started, in ticks; None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def resize(folder, size_bytes):
    """Give the small disk of a folder another size; raise CalledProcessError where more is on it."""
    subprocess.run(["mount", "-o", f"remount,size={size_bytes}", folder], check=True, capture_output=True)


def shrink(folder):
    """Leave no space on the small disk of a folder, without writing anything."""
    for try_number in range(SHRINK_TRIES):
        disk = os.statvfs(folder)
        used_bytes = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        with suppress(subprocess.CalledProcessError):
            resize(folder, max(4096, used_bytes) + (try_number << 14))  # a size of 0 would mean no bound
            return
    raise SkippedError("somebody writes faster than the disk can be made smaller")


def can_connect(address):
    """Whether somebody listens there."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), 0.2):
        return True
    return False
