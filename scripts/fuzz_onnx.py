"""A model file: bytes are rewritten, or refused as no protocol buffer; what was rewritten stays as it is."""

import random

from fuzz_bytes import mutate_bytes

from zgrid.filters.onnx_file import of_any_size

BYTES_MAX = 4096
MEMORY_MIB_MAX = 64


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes of a protocol buffer; short ones only."""
    return bytes((number << 3 | 2, len(content))) + content


def seeds() -> list[bytes]:
    """Return a graph with an input, an output and a value between them, and fields of every kind."""
    shape = field(2, b"".join(field(1, bytes((8, size))) for size in (1, 3, 120, 120)))
    value = field(1, b"input") + field(2, field(1, bytes((8, 1)) + shape))
    graph = (
        field(11, value) + field(12, value) + field(13, value) + bytes((8, 5, 17)) + bytes(8) + bytes((29,)) + bytes(4)
    )
    return [field(7, field(12, value)), bytes((8, 8)) + field(2, b"made by hand") + _long(7, graph), b""]


def _long(number: int, content: bytes) -> bytes:
    """Return a field whose length takes two bytes."""
    return bytes((number << 3 | 2, len(content) & 127 | 128, len(content) >> 7)) + content


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change bytes."""
    return mutate_bytes(data, rng)


def attack(data: bytes) -> None:
    """Rewrite it, twice."""
    try:
        made = of_any_size(data)
    except ValueError as error:
        assert str(error), "no reason"
        return
    assert len(made) <= len(data) + 16
    assert of_any_size(made) == made, "rewritten again it is another one"
