"""Bytes from strangers, for whatever port of a process can be reached."""

import os
import socket
from pathlib import Path

ZMTP = b"\xff" + b"\0" * 7 + b"\x01\x7f\x03\x01NULL" + b"\0" * 16 + b"\x01" + b"\0" * 31
"""How a peer of ZeroMQ 3.1 with the mechanism NULL begins: a server, which it should not be."""


def listening_ports(pid):
    """Return the TCP ports that a process listens at."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(link))
        except FileNotFoundError:
            continue
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in inodes:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


def rubbish(chance):
    """Return what strangers may send: nothing, random bytes, a browser's words, a begun and a broken handshake."""
    return [
        b"",
        chance.randbytes(1),
        chance.randbytes(5000),
        b"GET / HTTP/1.1\r\nHost: photos\r\n\r\n",
        ZMTP[:10],
        ZMTP + chance.randbytes(3000),
        ZMTP[:10] + b"\x03\x00CURVE" + ZMTP[17:],
        ZMTP + b"\x04\xff\xff\xff\xff\xff\xff\xff\xff" + chance.randbytes(100),
    ]


def throw(port, data, host="127.0.0.1"):
    """Connect to a port, send bytes, and go; whoever listens may hang up on us at any moment."""
    with socket.create_connection((host, port), 5.0) as link:
        try:
            link.sendall(data)
            link.settimeout(0.05)
            link.recv(100)
        except OSError:
            return


def chatter(chance, messages):
    """Yield frames of a peer that speaks ZeroMQ, but no zgrid: other versions and kinds, too many frames, too long."""
    for _ in range(messages):
        yield [b"ZG" + bytes([chance.randrange(3), chance.randrange(20)]), chance.randbytes(chance.randrange(60))]
    yield [b""] * 2000
    yield [b"x" * 100_000]
