"""A child's link: whatever a child says is refused, or makes only such messages of the worker as the protocol allows.

An input is how many jobs the child has, the size of the pieces in which its bytes come, and the bytes.
"""

import random
import struct
from array import array
from itertools import pairwise

import msgpack
from fuzz_bytes import mutate_bytes, mutate_packed
from fuzz_worlds import BOOT, LEDGER, check_effects, jobs_of

from zgrid.protocol.duty import Duty
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.messages import Welcome
from zgrid.roles.link import BODY_BYTES_MAX, HEADER_BYTES_MAX, ChildError, Inbox, Kind, pack, read_made, read_ready
from zgrid.roles.report import Report, Row, pack_notes, read_report

BYTES_MAX = 1 << 16
MEMORY_MIB_MAX = 64


def seeds() -> list[bytes]:
    """Return what an honest child says."""
    full, plain = Report(), Report()
    plain.keep_plainly(0.5, 1.5)
    plain.keep_plainly(0.5, 1.5)
    full.add(
        Row(0, None, 4, 3, "JPEG", bytes(32), pack_notes({"faces": [{"box": [1, 2, 3, 4]}]}), "image/png", b"png"), 1, 2
    )
    full.add(Row(2, "no image", digest=bytes(32)), 1, 2)
    full.keep_plainly(0.1, 0.2)
    said = [
        pack((Kind.READY, {"faces": "1"}, {"highlight": "no ImageMagick"}, [(1, "faces 1", None)], ["no seccomp"])),
        pack((Kind.MADE, (2, None, "no such filter"))),
        b"".join(plain.take()),
        b"".join(full.take()),
    ]
    return [bytes((jobs, piece)) + data for data in [*said, b"".join(said)] for jobs, piece in ((3, 0), (5, 7))]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a value in the first header and set its length right, or bytes of anything."""
    if len(data) < 11 or rng.random() < 0.3:
        return mutate_bytes(data, rng)
    header_bytes, body_bytes = struct.unpack_from("<II", data, 2)
    header = mutate_packed(data[10 : 10 + header_bytes], rng)
    if rng.random() < 0.2:
        header = _times(header, rng)
    return data[:2] + struct.pack("<II", len(header), body_bytes) + header + data[10 + header_bytes :]


def _times(header: bytes, rng: random.Random) -> bytes:
    """Give a report times at the edge of what is allowed."""
    try:
        parts = msgpack.unpackb(header)
        count = len(parts[1])
        parts[2:4] = [array("d", rng.choices((0.0, 1e15, 5e14, 1e-308), k=count)).tobytes() for _ in range(2)]
        return bytes(msgpack.packb(parts))
    except Exception:  # noqa: BLE001  no report any more
        return header


def attack(data: bytes) -> None:
    """Feed an agent's inbox; what it takes for results goes through the worker's decisions."""
    jobs = data[0] % 32 if data else 0
    piece = data[1] if data[1:] else 0
    stream = data[2:]
    inbox = Inbox(HEADER_BYTES_MAX, BODY_BYTES_MAX)
    edges = [*range(0, len(stream), piece), len(stream)] if piece else [0, len(stream)]
    duty = _duty(jobs)
    left = jobs
    try:
        for start, stop in pairwise(edges):
            inbox.feed(stream[start:stop])
            while (message := inbox.take()) is not None:
                left -= _heard(duty, *message, left)
    except ChildError as error:
        assert 0 < len(str(error)) < 400, "a reason that nobody can read"


def _duty(jobs: int) -> Duty:
    """Return a worker whose child has so many jobs."""
    duty = Duty("w", BOOT, "here", 1, 1)
    duty.child_ready(0, {"null": "1"}, 0.0)
    duty.employers[0].paced(0.001)  # one that is quick has many jobs
    duty.received(0, Welcome(name="v", boot=BOOT, lane=1, address="tcp://*:1", sinks=["tcp://s:1", "tcp://s:2"]), 0.0)
    for first in range(1, jobs + 1, 8):
        duty.work(0, jobs_of(range(first, min(first + 8, jobs + 1)), lane=1, single=False, ledger=LEDGER), 0.0)
    return duty


def _heard(duty: Duty, header: list[object], body: memoryview, left: int) -> int:
    """Do what an agent does with a child's message; return how many jobs it reports."""
    child = duty.children[0]
    if header[0] == Kind.DONE:
        has = min(left, sum(part.stop - part.start for part in child.ranges))
        news = read_report(header, body, min(has, BATCH_JOBS_MAX))
        check_effects(duty.returned(0, news, 1.0))
        return len(news.codes)
    if header[0] == Kind.MADE and len(header) == 2:
        made = read_made(header[1])
        duty.versions["null"] = made.version or ""
    elif header[0] == Kind.READY:
        filters, _, _, _ = read_ready(header)
        duty.filters = None
        check_effects(duty.child_ready(0, filters, 1.0))
    else:
        raise ChildError("it sent a message that has no place there")
    return 0
