"""An uninvited host: it floods every port that it is told of, in every way that it knows, and prints what it did.

It reads one JSON object: ``targets`` (address and port of each), ``seconds``, ``captured`` (bytes in hexadecimal that
others have sent), ``held`` (how many connections to hold at most) and ``servers`` (public keys it should not know).
"""

import json
import os
import random
import select
import socket
import sys
import time
from collections import Counter
from contextlib import suppress

import zmq

NULL = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)
CURVE = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)
ENDLESS = CURVE + b"\x06" + (500 << 20).to_bytes(8, "big")
CHUNK = bytes(1 << 16)
OPENED_PER_TURN = 20


class Link:
    """One connection: what it has to say, and whether it goes on for ever."""

    def __init__(self, target, text, *, endless=False):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.text, self.endless = memoryview(text), endless
        self.began = time.monotonic()
        self.socket.connect_ex(target)

    def push(self):
        """Send what goes; return how many bytes that was."""
        sent = 0
        while self.text or self.endless:
            try:
                number = self.socket.send(self.text or CHUNK)
            except BlockingIOError:
                break
            sent += number
            self.text = self.text[number:]
            if self.endless:
                break
        return sent


class Flood:
    """All of its connections, oldest first."""

    def __init__(self, order):
        self.targets = [tuple(target) for target in order["targets"]]
        self.captured = [bytes.fromhex(text) for text in order["captured"]]
        self.held = order["held"]
        self.links = {}
        self.counts = Counter()
        self.poll = select.epoll()
        self.chance = random.Random(6)

    def turn(self):
        """Open some connections, and go on with the others."""
        for _ in range(OPENED_PER_TURN):
            self.open()
        for descriptor, event in self.poll.poll(0.001, 512):
            link = self.links.get(descriptor)
            if link is None:
                continue
            try:
                if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not link.socket.recv(1 << 16):
                    raise ConnectionResetError
                self.counts["bytes"] += link.push()
                if not link.text and not link.endless:
                    self.poll.modify(descriptor, select.EPOLLIN)
            except BlockingIOError:
                continue
            except OSError:
                self.counts["hung up on"] += 1
                self.close(descriptor)

    def open(self):
        """Make one more connection, instead of the oldest if there are too many."""
        if len(self.links) >= self.held:
            self.close(next(iter(self.links)))
        noise = self.chance.randbytes(self.chance.randrange(1, 6000))
        web = b"GET / HTTP/1.1\r\nHost: photos\r\n\r\n"
        tactics = [b"", b"", NULL, NULL, CURVE, CURVE, noise, web, NULL + noise, *self.captured]
        text = self.chance.choice([*tactics, ENDLESS])
        try:
            link = Link(self.chance.choice(self.targets), text, endless=text is ENDLESS)
        except OSError:  # no port or descriptor is left here
            self.counts["could not"] += 1
            return
        self.counts["connections"] += 1
        descriptor = link.socket.fileno()
        self.links[descriptor] = link
        self.poll.register(descriptor, select.EPOLLIN | (select.EPOLLOUT if text else 0))

    def close(self, descriptor):
        """Leave a connection without a word."""
        link = self.links.pop(descriptor)
        self.poll.unregister(descriptor)
        link.socket.close()


class Pretenders:
    """Peers of ZeroMQ without keys, with keys that nobody knows, and with the names of others."""

    def __init__(self, order):
        self.order = order
        self.context = zmq.Context()
        self.sockets = []
        self.at = 0.0
        self.counts = Counter()

    def turn(self):
        """Twice a second, all of them anew."""
        if time.monotonic() < self.at:
            return
        self.at = time.monotonic() + 0.5
        for old in self.sockets:
            self.counts["answers"] += bool(old.type != zmq.PUSH and old.poll(0))
            old.close(0)
        self.sockets = []
        for (address, port), server in zip(self.order["targets"], self.order["servers"], strict=True):
            for kind in (zmq.DEALER, zmq.PUSH, zmq.PULL):
                for keys in (None, server):
                    self.sockets.append(self.connect(kind, f"tcp://{address}:{port}", keys))

    def connect(self, kind, address, server):
        """Connect one of them, which says HELLO and sends results if anybody listens."""
        one = self.context.socket(kind)
        one.linger = 0
        if server:
            one.curve_publickey, one.curve_secretkey = zmq.curve_keypair()
            one.curve_serverkey = server.encode()
        elif kind == zmq.DEALER:
            one.routing_id = os.urandom(8)
        one.connect(address)
        if kind != zmq.PULL:
            with suppress(zmq.Again):  # it was hung up on already
                one.send_multipart([b"ZG\x01\x01", b"\x80"], zmq.DONTWAIT)
        self.counts["pretenders"] += 1
        return one


def main():
    """Flood for as long as asked."""
    order = json.loads(sys.stdin.read())
    flood, pretenders = Flood(order), Pretenders(order)
    ends_at = time.monotonic() + order["seconds"]
    while time.monotonic() < ends_at:
        flood.turn()
        pretenders.turn()
    print(json.dumps({**flood.counts, **pretenders.counts}))


main()
