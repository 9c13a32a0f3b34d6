"""Ways to change bytes, and to read decisions from them: what the targets of scripts/fuzz share."""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgpack

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 1023, 1024, 1025, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
    (1 << 63) - 1, -(1 << 63), (1 << 64) - 1)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0.0, -0.5, 1e15, 1e16, 1e308, float("nan"), float("inf"), "", "a", "a\0b", "\u00e9" * 40,
    "x" * 5000, b"",
    bytes(8), bytes(16), bytes(32), b"\xff" * 33, [], {}, [[]], {"a": 1}, [1, 2, 3], [1] * 1025, *NUMBERS,
)  # fmt: skip
WORDS = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"PK\1\2", b"\xff\xd8")

Item = TypeVar("Item")


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return the data with a piece changed, cut out, doubled, moved or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        length = min(len(out) - at, rng.choice((1, 1, 2, 4, 8, 64)))
        match rng.randrange(7):
            case 0 if length:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + length] = rng.randbytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length]
            case 4:
                word = rng.choice(WORDS)
                out[at : at + len(word)] = word
            case 5:
                size = rng.choice((1, 2, 4, 8))
                number = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
                out[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
            case _:
                del out[at + length * 8 :]
    return bytes(out)


def mutate_value(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """Return plain data with one thing in it changed."""
    if depth and rng.random() < 0.15:
        return rng.choice(VALUES)
    match value:
        case dict() if value:
            key = rng.choice(list(value))
            changed = {**value, key: mutate_value(value[key], rng, depth + 1)}
            if rng.random() < 0.1:
                del changed[key]
            return changed
        case list() if value:
            at = rng.randrange(len(value))
            match rng.randrange(6):
                case 0:
                    return value[:at]
                case 1:
                    return [*value, value[at]]
                case _:
                    return [*value[:at], mutate_value(value[at], rng, depth + 1), *value[at + 1 :]]
        case int():
            return rng.choice((value + 1, value - 1, value ^ 1, rng.choice(NUMBERS)))
        case bytes():
            return mutate_bytes(value, rng)
        case str() if value:
            return rng.choice((value[:-1], value + value, value.upper(), "x" + value))
    return rng.choice(VALUES)


def mutate_packed(packed: bytes, rng: random.Random) -> bytes:
    """Return msgpack with one value changed, or some bytes where that cannot be."""
    try:
        changed = mutate_value(msgpack.unpackb(packed, strict_map_key=False), rng)
        return bytes(msgpack.packb(changed))
    except Exception:  # noqa: BLE001  no msgpack any more: then its bytes are changed
        return mutate_bytes(packed, rng)


class Tape:
    """Bytes as a row of decisions. At its end everything is the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """Return the next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, stop: int) -> int:
        """Return a number from 0 to ``stop`` - 1."""
        return self.byte() % stop

    def one(self, items: Sequence[Item]) -> Item:
        """Return one of the items."""
        return items[self.below(len(items))]

    def many(self, make: Callable[[], Item], count: int) -> list[Item]:
        """Return so many."""
        return [make() for _ in range(count)]

    def rest(self, count: int) -> bytes:
        """Return up to so many bytes as they are."""
        self._at += count
        return self._data[self._at - count : self._at]
