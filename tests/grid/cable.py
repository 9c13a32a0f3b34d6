"""A network cable between two network namespaces, which a test can cut, mend, and make bad.

Both ends are TUN devices, and a thread carries the packets from one to the other. A cut shows nowhere: no FIN, no RST,
no carrier that goes, as when a switch somewhere between fails.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import time
from contextlib import contextmanager
from itertools import count
from threading import Thread

import namespaces
import pytest

NEAR, FAR = "10.0.0.1", "10.0.0.2"
PACKET_BYTES_MAX = 65536

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


class Cable:
    """Two ends, ``NEAR`` and ``FAR``; the thread that makes it is at the near one until ``stack`` takes it down.

    ``lost`` counts the packets of IPv4 that did not arrive.
    """

    def __init__(self, stack):
        self._is_cut = False
        self._delay_s = self._loss = 0.0
        self.lost = 0
        stack.callback(namespaces.enter, namespaces.NET, namespaces.here(namespaces.NET, stack))
        self._far, far = _end(stack, "far", FAR, NEAR)
        self._near, near = _end(stack, "near", NEAR, FAR)
        self._stop = os.eventfd(0)
        stack.callback(os.close, self._stop)
        carrier = Thread(target=self._carry, args=(near, far), name="cable", daemon=True)
        carrier.start()
        stack.callback(carrier.join, 5.0)
        stack.callback(os.eventfd_write, self._stop, 1)

    @contextmanager
    def far_end(self):
        """What is started inside is at the far end."""
        namespaces.enter(namespaces.NET, self._far)
        try:
            yield
        finally:
            namespaces.enter(namespaces.NET, self._near)

    def cut(self):
        """Lose every packet from now on, also those that are under way."""
        self._is_cut = True

    def mend(self):
        """Carry packets again."""
        self._is_cut = False

    def pull(self):
        """Take the far end's interface down, as a laptop's that leaves its network: there the way itself is gone."""
        with self.far_end():
            _ip("link set far down")

    def plug(self):
        """Bring the far end's interface up again."""
        with self.far_end():
            _ip("link set far up")

    def worsen(self, delay_ms, loss_percent):
        """Delay packets each way and lose some: by ``tc netem``, or ourselves where the kernel has none; say which."""
        words = f"root netem delay {delay_ms}ms loss {loss_percent}%"
        with self.far_end():
            is_done = _tc(f"qdisc add dev far {words}")
        if is_done and _tc(f"qdisc add dev near {words}"):
            return "tc netem"
        self._delay_s, self._loss = delay_ms / 1000, loss_percent / 100
        return "the cable"

    def _carry(self, near, far):
        """In the cable's thread: take packets off one end, and put them on the other when they are due."""
        chance, order = random.Random(5), count()
        other = {near: far, far: near}
        poll = select.poll()
        for descriptor in (near, far, self._stop):
            poll.register(descriptor, select.POLLIN)
        under_way = []
        while True:
            left_ms = max(0.0, under_way[0][0] - time.monotonic()) * 1000 if under_way else None
            for descriptor, _ in poll.poll(left_ms):
                if descriptor == self._stop:
                    return
                packet = os.read(descriptor, PACKET_BYTES_MAX)
                if self._is_cut or chance.random() < self._loss:
                    self.lost += packet[0] >> 4 == 4
                    continue
                due = time.monotonic() + self._delay_s
                heapq.heappush(under_way, (due, next(order), other[descriptor], packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, descriptor, packet = heapq.heappop(under_way)
                if not self._is_cut:
                    _put(descriptor, packet)


def _end(stack, name, mine, theirs):
    """Make a namespace with one end of the cable, and be there; return its descriptor and the device's."""
    namespace = namespaces.make(namespaces.NET, stack)
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, device)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
        _ip("link set lo up")
        _ip(f"addr add {mine} peer {theirs} dev {name}")
        _ip(f"link set {name} up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no TUN devices here ({error}): load the module tun, and install iproute2")
    return namespace, device


def _put(descriptor, packet):
    try:
        os.write(descriptor, packet)
    except OSError:
        return  # the interface is down, or its queue is full: packets may be lost


def _ip(words):
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def _tc(words):
    try:
        return subprocess.run(["tc", *words.split()], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
