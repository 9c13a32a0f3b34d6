"""How many pictures an image file holds, counted along the file's own chain of them without decoding any."""

import struct

FRAMES_MAX = 10_000
"""More pictures in one file than this are refused: only the first is ever looked at, but libraries go through all."""


def count_frames(data: bytes | memoryview, name: str, told: int) -> int:
    """Return how many pictures a file has, as far as one more than FRAMES_MAX; at least 1.

    ``told`` is what the file says in its header, for a format that says it there. A chain that is broken ends where it
    breaks: whether the first picture is whole is found when it is decoded.
    """
    if name == "GIF":
        return max(1, _gif(data))
    if name == "TIFF":
        return max(1, _tiff(data))
    return max(1, told)


def _gif(data: bytes | memoryview) -> int:
    """Count the image blocks of a GIF."""
    frames, end = 0, len(data)
    at = 13 + (3 << (data[10] & 7) + 1 if end > 10 and data[10] & 0x80 else 0)
    while at < end and frames <= FRAMES_MAX:
        if data[at] == 0x21:  # an extension: its label, then sub-blocks
            at += 2
        elif data[at] == 0x2C and at + 10 < end:  # an image: place, perhaps colours, code size, then sub-blocks
            frames += 1
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            break
        while at < end and data[at]:
            at += data[at] + 1
        at += 1
    return frames


def _tiff(data: bytes | memoryview) -> int:
    """Count the directories of a TIFF, or of a BigTIFF, whose offsets have eight bytes."""
    order = "<" if data[0] == 0x49 else ">"
    is_big = 43 in (data[2], data[3])
    count_as, offset_as, entry_bytes, at = (
        (order + "Q", order + "Q", 20, 8) if is_big else (order + "H", order + "I", 12, 4)
    )
    frames, seen = 0, set()
    try:
        while frames <= FRAMES_MAX:
            (here,) = struct.unpack_from(offset_as, data, at)
            if not here or here in seen:
                break
            (entries,) = struct.unpack_from(count_as, data, here)
            seen.add(here)
            frames += 1
            at = here + struct.calcsize(count_as) + entries * entry_bytes
    except (struct.error, OverflowError):
        return frames
    return frames
