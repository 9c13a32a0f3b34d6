"""Hosts of one test: network namespaces on a hub, whose links can be cut, mended, and made bad.

Each host has a TUN device, and a thread carries the packets from one to another. A cut shows nowhere: no FIN, no RST,
no carrier that goes, as when a switch somewhere between fails. Nothing outside of these namespaces is touched, and they
end by themselves.
"""

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from itertools import count
from threading import Thread

import namespaces
import pytest

DEVICE = "wire"
PACKET_BYTES_MAX = 65536

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


class Hub:
    """Hosts by name, ``10.0.0.1`` and on, in their order; the thread that makes it is at the first.

    ``stack`` takes that thread back where it was, and all of it down. ``lost`` counts the packets that did not arrive.
    """

    def __init__(self, stack, *names):
        self.addresses = {name: f"10.0.0.{number}" for number, name in enumerate(names, 1)}
        self.lost = 0
        self._home = names[0]
        self._cut = frozenset()
        self._delay_s = self._loss = 0.0
        stack.callback(namespaces.enter, namespaces.NET, namespaces.here(namespaces.NET, stack))
        self._places, self._devices = {}, {}
        for name, address in self.addresses.items():
            self._places[name], self._devices[socket.inet_aton(address)] = _host(stack, address)
        namespaces.enter(namespaces.NET, self._places[self._home])
        self._stop = os.eventfd(0)
        stack.callback(os.close, self._stop)
        carrier = Thread(target=self._carry, name="hub", daemon=True)
        carrier.start()
        stack.callback(carrier.join, 5.0)
        stack.callback(os.eventfd_write, self._stop, 1)

    @contextmanager
    def at(self, name):
        """What is started inside, and every socket that is made, is at this host."""
        namespaces.enter(namespaces.NET, self._places[name])
        try:
            yield
        finally:
            namespaces.enter(namespaces.NET, self._places[self._home])

    def cut(self, name):
        """Lose every packet from and to a host from now on, also those that are under way."""
        self._cut |= {socket.inet_aton(self.addresses[name])}

    def mend(self, name):
        """Carry its packets again."""
        self._cut -= {socket.inet_aton(self.addresses[name])}

    def worsen(self, delay_ms, loss_percent):
        """Delay every packet and lose some: by ``tc netem``, or ourselves where the kernel has none; say which."""
        words = f"add dev {DEVICE} root netem delay {delay_ms}ms loss {loss_percent}%"
        if all(self._tc(name, words) for name in self._places):
            return "tc netem"
        self.ease()
        self._delay_s, self._loss = delay_ms / 1000, loss_percent / 100
        return "the hub"

    def ease(self):
        """Carry packets at once again, and all of them."""
        self._delay_s = self._loss = 0.0
        for name in self._places:
            self._tc(name, f"del dev {DEVICE} root")

    def _tc(self, name, words):
        with self.at(name):
            try:
                return subprocess.run(["tc", "qdisc", *words.split()], check=False, capture_output=True).returncode == 0
            except FileNotFoundError:
                return False

    def _carry(self):
        """In the hub's thread: take packets from a host, and give them to another when they are due."""
        chance, order = random.Random(5), count()
        poll = select.poll()
        for descriptor in (*self._devices.values(), self._stop):
            poll.register(descriptor, select.POLLIN)
        under_way = []
        while True:
            left_ms = max(0.0, under_way[0][0] - time.monotonic()) * 1000 if under_way else None
            for descriptor, _ in poll.poll(left_ms):
                if descriptor == self._stop:
                    return
                packet = _take(descriptor)
                if packet[16:20] in self._devices:  # else it is of IPv6, or for nobody here
                    if chance.random() < self._loss:
                        self.lost += 1
                        continue
                    heapq.heappush(under_way, (time.monotonic() + self._delay_s, next(order), packet))
            while under_way and under_way[0][0] <= time.monotonic():
                *_, packet = heapq.heappop(under_way)
                sender, receiver = packet[12:16], packet[16:20]
                if sender in self._cut or receiver in self._cut:
                    self.lost += 1
                else:
                    _put(self._devices[receiver], packet)


def _host(stack, address):
    """Make a namespace with one device, and be there; return descriptors of both."""
    namespace = namespaces.make(namespaces.NET, stack)
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, device)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        for words in ("link set lo up", f"addr add {address}/24 dev {DEVICE}", f"link set {DEVICE} up"):
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no TUN devices here ({error}): load the module tun, and install iproute2")
    return namespace, device


def _take(descriptor):
    """Return a packet; nothing where the interface has just gone down."""
    try:
        return os.read(descriptor, PACKET_BYTES_MAX)
    except OSError:
        return b""


def _put(descriptor, packet):
    try:
        os.write(descriptor, packet)
    except OSError:
        return  # the interface is down, or its queue is full: packets may be lost
