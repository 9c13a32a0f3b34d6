"""The eight orientations: a box of the upright image shows the same pixels where it is stored."""

import random

import numpy as np
from fuzz_bytes import Tape, mutate_bytes

from zgrid.filters.orientation import stored_box, upright

BYTES_MAX = 64
MEMORY_MIB_MAX = 64


def seeds() -> list[bytes]:
    """Return one of each orientation."""
    return [bytes((turn, 5, 3, 1, 1, 2, 1, channels)) for turn in range(8) for channels in range(3)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change the numbers."""
    return mutate_bytes(data, rng)


def attack(data: bytes) -> None:
    """Turn a picture, cut a box out of it, and find the same in the picture as it is stored."""
    tape = Tape(data)
    orientation, width, height = 1 + tape.below(8), 1 + tape.below(40), 1 + tape.below(40)
    left, top = tape.below(width), tape.below(height)
    right, bottom = left + 1 + tape.below(width - left), top + 1 + tape.below(height - top)
    swapped = orientation > 4
    shape = ((width, height) if swapped else (height, width)) + tape.one(((), (3,), (4,)))
    stored = np.random.default_rng(tape.byte()).integers(0, 65535, shape, np.uint16)
    turned = upright(stored, orientation)
    assert turned.shape[:2] == (height, width)
    x0, y0, x1, y1 = stored_box((left, top, right, bottom), orientation, width, height)
    assert 0 <= x0 < x1 <= shape[1]
    assert 0 <= y0 < y1 <= shape[0]
    assert (upright(stored[y0:y1, x0:x1], orientation) == turned[top:bottom, left:right]).all()
