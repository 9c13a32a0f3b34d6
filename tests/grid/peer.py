"""A worker in the test's own hands: it joins like any other, and then says what the test wants, however wrong it is."""

import os
import time

import zmq

from zgrid.protocol import wire
from zgrid.protocol.messages import Beat, Hello, Jobs, Outcomes, Results, Welcome
from zgrid.transport.clock import host_identity


class Peer:
    """Its sockets, all that it was told (``heard``), and every batch of work that it was given (``batches``)."""

    def __init__(self, context, address, name="odd", procs=2):
        self.boot = os.urandom(8)
        self.name, self.procs = name, procs
        self.heard, self.batches = [], []
        self.welcome = None
        self.serial = 0
        self._context = context
        self._sockets = []
        self._beaten_at = 0.0
        self.control = self.connect(zmq.DEALER, address)
        self._lane = None
        self._intakes = {}

    def connect(self, kind, address):
        """Return a socket that is connected to an address."""
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.linger = 2000
        if kind == zmq.DEALER:
            socket.routing_id = self.boot
        socket.connect(address)
        return socket

    def close(self):
        """Close all sockets, as the kernel does for a process that died."""
        for socket in self._sockets:
            socket.close()

    # -- saying

    def say(self, message, socket=None):
        """Send a message to the ventilator, or on another socket."""
        (socket or self.control).send_multipart(wire.encode(message))

    def hello(self, **other):
        """Say who it is: a worker with the filter for tests."""
        said = {"role": "worker", "name": self.name, "boot": self.boot, "host": host_identity(), "procs": self.procs}
        self.say(Hello(**{**said, "filters": {"marked": "1"}, **other}))

    def beat(self, *, every_ms=100, **other):
        """Say that it lives, if it has not just now; return true, for conditions."""
        if time.monotonic() - self._beaten_at >= every_ms / 1000:
            self._beaten_at = time.monotonic()
            self.say(Beat(boot=self.welcome.boot, lane=self.welcome.lane, **other))
        return True

    def outcomes(self, jobs, code=0, **other):
        """Report the jobs of a batch."""
        self.serial += 1
        said = {"boot": jobs.boot, "lane": jobs.lane, "serial": self.serial, "seqs": jobs.seqs}
        codes = bytes([code]) * len(jobs.seqs)
        self.say(Outcomes(**{**said, "attempts": jobs.attempts, "codes": codes, **other}))

    def results(self, jobs, picture=None):
        """Push results of a batch to the sink, each with this picture."""
        self.say(results_of(jobs, self.name, picture), self.intake())

    def intake(self):
        """Return the socket to the first sink's intake."""
        address = self.welcome.sinks[0]
        if address not in self._intakes:
            self._intakes[address] = self.connect(zmq.PUSH, address)
        return self._intakes[address]

    # -- hearing

    def listen(self):
        """Take in what has come; return true, for conditions."""
        while self.control.poll(0):
            self._hear(wire.decode(self.control.recv_multipart()))
        while self._lane is not None and self._lane.poll(0):
            message = wire.decode(self._lane.recv_multipart())
            assert type(message) is Jobs
            self.batches.append(message)
        return True

    def until_given(self, grid, jobs):
        """Join, and wait until it was given so many jobs."""
        self.hello()
        grid.until(lambda: self.listen() and self.welcome, what=f"{self.name} is welcome")
        grid.until(lambda: self.listen() and self.beat() and len(self.seqs()) >= jobs, what=f"{self.name} has jobs")

    def heard_of(self, kind):
        """Return the messages of one kind that it was told."""
        return [message for message in self.heard if type(message) is kind]

    def seqs(self):
        """Return the numbers of all jobs that it was given."""
        return [seq for batch in self.batches for seq in batch.seqs]

    def _hear(self, message):
        self.heard.append(message)
        if type(message) is Welcome and message.lane and (self.welcome is None or message.lane != self.welcome.lane):
            if self._lane is not None:
                self._lane.close()
            self._lane = self.connect(zmq.PULL, message.address)
        if type(message) is Welcome:
            self.welcome = message


def results_of(jobs, worker, picture=None, **other):
    """Return the results of a batch of jobs, as a worker of this name would push them."""
    count = len(jobs.seqs)
    columns = {name: [0.0] * count for name in ("waits", "reads", "works")}
    columns |= {name: [None] * count for name in ("widths", "heights", "formats", "digests", "notes")}
    columns |= {name: getattr(jobs, name) for name in ("ledger", "chain", "seqs", "attempts", "keys", "uris", "sizes")}
    columns |= {
        "worker": worker,
        "chain_version": "marked/1",
        "media": [None if picture is None else "image/png"] * count,
        "pictures": list(range(count)) if picture is not None else [-1] * count,
        "images": (picture,) * count if picture is not None else (),
    }
    return Results(**{**columns, **other})
