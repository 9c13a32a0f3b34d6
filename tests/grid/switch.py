"""Hosts of one test: network namespaces on a switch of their own, each with an address, and a tap that hears it all."""

import os
import socket
import struct
import subprocess
import threading
from collections import defaultdict
from contextlib import contextmanager

import namespaces
import pytest

ETH_P_ALL = 3


class Switch:
    """Hosts by name, ``10.9.0.1`` and on, in their order; the thread that makes it is at the first."""

    def __init__(self, stack, *names):
        self.addresses = {name: f"10.9.0.{number}" for number, name in enumerate(names, 1)}
        self._home = namespaces.here(namespaces.NET, stack)
        stack.callback(namespaces.enter, namespaces.NET, self._home)
        self._switch = namespaces.make(namespaces.NET, stack)
        self._hosts = {}
        try:
            _ip("link add sw type bridge")
            _ip("link set sw up")
            for name in names:
                self._plug(stack, name)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no bridges and veth devices here ({error}): install iproute2")
        namespaces.enter(namespaces.NET, self._hosts[names[0]])

    @contextmanager
    def at(self, name):
        """What is started inside is at that host."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.enter(namespaces.NET, self._hosts[name])
        try:
            yield
        finally:
            namespaces.enter(namespaces.NET, back)
            os.close(back)

    def tap(self, stack):
        """Return a tap that hears what goes over the switch until ``stack`` ends."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.enter(namespaces.NET, self._switch)
        try:
            return Tap(stack)
        finally:
            namespaces.enter(namespaces.NET, back)
            os.close(back)

    def _plug(self, stack, name):
        self._hosts[name] = host = namespaces.make(namespaces.NET, stack)
        port = f"p{len(self._hosts)}"
        namespaces.enter(namespaces.NET, self._switch)
        _ip(f"link add {port} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{host}")
        _ip(f"link set {port} master sw up")
        namespaces.enter(namespaces.NET, host)
        _ip("link set lo up")
        _ip(f"addr add {self.addresses[name]}/24 dev eth0")
        _ip("link set eth0 up")


class Tap:
    """Keeps the first bytes that went each way of every TCP connection. ``packets``: how many were heard."""

    def __init__(self, stack, bytes_max=20_000):
        self._parts = defaultdict(dict)
        self._bytes_max = bytes_max
        self.packets = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.settimeout(0.2)
        self._stop = False
        thread = threading.Thread(target=self._listen, name="tap", daemon=True)
        thread.start()
        stack.callback(self._socket.close)
        stack.callback(thread.join, 5.0)
        stack.callback(self.stop)

    def stop(self):
        """Hear nothing more."""
        self._stop = True

    def heard(self, source, target, port):
        """Return what ``source`` has sent to a port of ``target``, by connection, in order and without gaps."""
        found = []
        for (ours, theirs, _, to), parts in list(self._parts.items()):
            if (ours, theirs, to) == (source, target, port):
                text, at = b"", min(parts, default=0)
                while at in parts:
                    text += parts[at]
                    at += len(parts[at])
                found.append(text)
        return [text for text in found if text]

    def _listen(self):
        while not self._stop:
            try:
                frame = self._socket.recv(1 << 17)
            except TimeoutError:
                continue
            if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
                continue
            begin = 14 + (frame[14] & 15) * 4
            ours, theirs, number = struct.unpack_from("!HHI", frame, begin)
            data = frame[begin + (frame[begin + 12] >> 4) * 4 : 14 + struct.unpack_from("!H", frame, 16)[0]]
            self.packets += 1
            flow = (socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]), ours, theirs)
            parts = self._parts[flow]
            if data and sum(map(len, parts.values())) < self._bytes_max:
                parts[number] = data


def _ip(words):
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)
