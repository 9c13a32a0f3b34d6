"""The wire: frames of any content are a message or a PeerError, and what is a message is the same one written again.

An input is the number of image frames (one byte), the head (four) and the header.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from fuzz_bytes import mutate_bytes, mutate_packed

from zgrid.errors import PeerError
from zgrid.protocol.wire import decode, encode

BYTES_MAX = 1 << 16
MEMORY_MIB_MAX = 64
VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "v1"


def vectors() -> Iterator[list[bytes]]:
    """Yield the frames of each golden vector."""
    for file in sorted(VECTORS.glob("*.hex")):
        yield [bytes.fromhex(line) for line in file.read_text().splitlines() if not line.startswith("#")]


def seeds() -> list[bytes]:
    """Return every golden vector as an input."""
    return [bytes([len(frames) - 2]) + frames[0] + frames[1] for frames in vectors()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a value in the header, or bytes of anything."""
    if rng.random() < 0.2 or len(data) < 6:
        return mutate_bytes(data, rng)
    return data[:5] + mutate_packed(data[5:], rng)


def attack(data: bytes) -> None:
    """Decode; and what is a message, encode and decode again."""
    images = data[0] if data else 0
    frames = [data[1:5], data[5:], *(bytes([number]) for number in range(images))]
    try:
        message = decode(frames[: len(data)])
    except PeerError as error:
        assert 0 < len(str(error)) < 400, "a reason that nobody can read"
        return
    again = encode(message)
    assert decode(again) == message, "written again it is another message"
    assert encode(decode(again)) == again, "written a third time it has other bytes"
