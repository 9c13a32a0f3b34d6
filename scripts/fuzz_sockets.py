"""The sockets of roles that run, with keys and without: whatever comes at a port, they live, answer, and stay as large.

An input is a row of packets, each with its length in two bytes before it: the port, the way (raw TCP, a ZeroMQ peer of
some kind, with a stranger's keys, with a member's), and the bytes: a count of image frames, a head and a header.
"""

import atexit
import os
import random
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import photographs
import zmq
from fuzz_bytes import mutate_bytes, mutate_packed
from fuzz_wire import vectors
from harness import Grid, free_port
from strangers import ZMTP, listening_ports

from zgrid.transport.keyring import read_key

BYTES_MAX = 1 << 16
MEMORY_MIB_MAX = 1024
GROWTH_MIB_MAX = 96
JOBS = 20
WARM_INPUTS = 20
STATUS_MS = 30_000
SEND_MS = 200
PORTS = 10
"""How many ports the roles have together; one more or less makes no difference."""
PATIENCE_S = 30.0
RAW, DEALER, PUSH, PULL, STRANGER, MEMBER, AS_VENTILATOR, AS_LANE = WAYS = range(8)
KINDS = {DEALER: zmq.DEALER, PUSH: zmq.PUSH, PULL: zmq.PULL, STRANGER: zmq.DEALER, MEMBER: zmq.DEALER}
CURVE = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)
RAW_SEEDS = (b"", b"\xff", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ZMTP, ZMTP[:10], ZMTP + b"\x04\xff" + bytes(60), CURVE,
    CURVE + b"\x04\xc8\x05HELLO" + bytes(194), ZMTP + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\6DEALER",
    b"\x16\x03\x01\x02\0")  # fmt: skip


def pack(packets: list[bytes]) -> bytes:
    """Return packets as an input."""
    return b"".join(len(packet).to_bytes(2, "little") + packet for packet in packets)


def unpack(data: bytes) -> list[bytes]:
    """Return the packets of an input; a broken one ends it."""
    packets, at = [], 0
    while at + 2 < len(data):
        length = int.from_bytes(data[at : at + 2], "little")
        packets.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return packets


def seeds() -> list[bytes]:
    """Return every golden vector, in each way and at each port, and the beginnings of handshakes."""
    said = [bytes([len(frames) - 2]) + frames[0] + frames[1] for frames in vectors()]
    words = [pack([bytes((port, way)) + one for one in said]) for way in WAYS[1:] for port in range(PORTS)]
    return words + [pack([bytes((port, RAW)) + one for one in RAW_SEEDS]) for port in range(PORTS)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change half of the packets, where they go, and in which order they come."""
    packets = unpack(data)
    for at, packet in enumerate(packets):
        if len(packet) > 7 and packet[1] % len(WAYS) != RAW and rng.random() < 0.5:
            packets[at] = packet[:7] + mutate_packed(packet[7:], rng)[:4000]
        elif rng.random() < 0.3:
            packets[at] = packet[:2] + mutate_bytes(packet[2:], rng)[:4000]
        if rng.random() < 0.3:
            packets[at] = bytes((rng.randrange(PORTS), rng.randrange(len(WAYS)))) + packets[at][2:]
    rng.shuffle(packets)
    return pack(packets[:60])


class World:
    """Two grids, one of them with keys, and a false ventilator for the worker of the other."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zgrid-fuzz-"))
        self.context = zmq.Context()
        self.router, self.lane = self._bound(zmq.ROUTER), self._bound(zmq.PUSH)
        self.grids: list[Any] = []
        self.workers: list[bytes] = []
        self.inputs = 0
        self.warm: dict[str, float] = {}
        self.now: dict[str, float] = {}
        self.ports: list[tuple[Any, str, int]] = []

    def begin(self) -> None:
        """Start all of it."""
        self._grid("open", with_keys=False)
        self._grid("closed", with_keys=True)
        self.ports = [
            (grid, process.name, port)
            for grid in self.grids
            for process in grid.processes.values()
            for port in sorted(listening_ports(process.popen.pid))
        ]

    def _bound(self, kind: int) -> Any:
        bound = self.context.socket(kind)
        bound.linger = 0
        bound.sndtimeo = SEND_MS
        bound.bind("tcp://127.0.0.1:*")
        return bound

    def _grid(self, name: str, *, with_keys: bool) -> None:
        folder = self.folder / name
        folder.mkdir()
        photographs.tiny(folder / "in", JOBS)
        grid = Grid(folder)
        self.grids.append(grid)
        settings, false = {}, [self.router.last_endpoint.decode()]
        if with_keys:
            self._enroll(grid, folder / "keys")
            settings, false = {"keys": folder / "keys"}, []
        grid.sink(metrics=f"127.0.0.1:{free_port()}", **self._key(settings, "sink"))
        grid.ventilator(folder / "in", filter=["null"], **settings)
        grid.worker(to=[grid.address, *false], **self._key(settings, "w1"))
        grid.until_joined("w1")
        grid.until_settled(JOBS)

    @staticmethod
    def _key(settings: dict[str, Any], name: str) -> dict[str, Any]:
        return {key: value / f"{name}.key" for key, value in settings.items()}

    @staticmethod
    def _enroll(grid: Any, keys: Path) -> None:
        import subprocess  # noqa: PLC0415
        import sys  # noqa: PLC0415

        for words in (("init",), ("enroll", "w1")):
            command = [sys.executable, "-m", "zgrid", "keys", *words, f"--keys={keys}"]
            subprocess.run(command, check=True, capture_output=True, env=grid.environment)
        grid.key = read_key(keys / "operator.key")

    # -- packets

    def throw(self, packet: bytes) -> None:
        """Send one packet where it belongs."""
        if len(packet) < 2:
            return
        grid, role, port = self.ports[packet[0] % len(self.ports)]
        way, rest = packet[1] % len(WAYS), packet[2:]
        frames = [rest[1:5], rest[5:], *([b"x"] * (rest[0] if rest else 0))]
        if way == RAW:
            self._raw(port, rest)
        elif way == AS_VENTILATOR:
            while self.router.poll(0):
                self.workers = [self.router.recv_multipart()[0]]
            for worker in self.workers:
                self.router.send_multipart([worker, *frames])
        elif way == AS_LANE:
            if self.lane.poll(0, zmq.POLLOUT):
                self.lane.send_multipart(frames)
        else:
            self._peer(grid, role, port, way, frames)

    @staticmethod
    def _raw(port: int, data: bytes) -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), 5.0) as link:
                link.settimeout(0.01)
                link.sendall(data)
                link.recv(100)
        except OSError:
            return

    def _peer(self, grid: Any, role: str, port: int, way: int, frames: list[bytes]) -> None:
        peer = self.context.socket(KINDS[way])
        peer.linger = 1000  # in the background, for a handshake takes its time
        peer.sndtimeo = SEND_MS
        keys = grid.folder / "keys"
        server = read_key(keys / f"{role}.key").public.encode() if grid.key else zmq.curve_keypair()[0]
        if way == STRANGER:
            peer.curve_publickey, peer.curve_secretkey = zmq.curve_keypair()
            peer.curve_serverkey = server
        elif way == MEMBER and grid.key:
            own = read_key(keys / "w1.key")
            peer.curve_publickey, peer.curve_secretkey = own.public.encode(), own.secret.encode()
            peer.curve_serverkey = server
        elif KINDS[way] == zmq.DEALER:
            peer.routing_id = b"fuzzfuzz"
        peer.connect(f"tcp://127.0.0.1:{port}")
        if KINDS[way] != zmq.PULL and peer.poll(20, zmq.POLLOUT):
            peer.send_multipart(frames)
        peer.close()

    # -- looking

    def check(self) -> None:
        """See that every role lives, answers and has not grown."""
        self.inputs += 1
        for grid in self.grids:
            for process in grid.processes.values():
                assert process.alive, f"{process.name} has ended: {process.text()[-500:]}"
            for address in (grid.address, grid.sink_address):
                grid.status(address, STATUS_MS)
            names = [worker["name"] for worker in grid.status(grid.address, STATUS_MS)["workers"]]
            assert "w1" in names, "the worker is not there any more"
            for name, process in grid.processes.items():
                pages = int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1])
                here, mib = f"{grid.folder.name} {name}", pages * os.sysconf("SC_PAGESIZE") / (1 << 20)
                self.now[here] = mib
                if self.inputs <= WARM_INPUTS:
                    self.warm[here] = max(mib, self.warm.get(here, 0.0))
                grown = mib - self.warm[here]
                assert grown < GROWTH_MIB_MAX, f"{here} has grown by {grown:.0f} MiB"

    def until_well(self) -> None:
        """Check, again if need be: a worker that was told that its lane is gone is back within a second or two."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.check()
            except AssertionError:
                is_dead = not all(one.alive for grid in self.grids for one in grid.processes.values())
                if is_dead or time.monotonic() > until:
                    raise

    def told(self) -> str:
        """Return how large the roles were when warm and are now, and whom they refused, for a look at the log."""
        sizes = ", ".join(f"{name} {mib:.0f} -> {self.now[name]:.0f} MiB" for name, mib in self.warm.items())
        doors = [grid.status(at, STATUS_MS)["door"] for grid in self.grids for at in (grid.address, grid.sink_address)]
        return f"{self.inputs} inputs; {sizes}; doors {doors}"

    def end(self) -> None:
        """End all of it."""
        for grid in self.grids:
            grid.end(failed=True)
        self.context.destroy(0)
        shutil.rmtree(self.folder, ignore_errors=True)


_WORLDS: list[World] = []


def close() -> None:
    """End the grids, if there are any."""
    while _WORLDS:
        world = _WORLDS.pop()
        try:
            print(world.told(), flush=True)
        except Exception as error:  # noqa: BLE001  one that has ended tells nothing
            print(f"no answer at the end: {error}", flush=True)
        world.end()


atexit.register(close)


def attack(data: bytes) -> None:
    """Throw the packets, and look whether all is well; if not, the next input gets new grids."""
    try:
        if not _WORLDS:
            _WORLDS.append(World())
            _WORLDS[0].begin()
        world = _WORLDS[0]
        for packet in unpack(data):
            with suppress(zmq.Again):  # who listens may have hung up on us, or takes no more
                world.throw(packet)
        world.until_well()
    except BaseException:
        close()
        raise
