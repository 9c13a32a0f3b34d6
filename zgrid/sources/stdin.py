"""A list of paths on standard input, as ``find`` prints it: one for each line, or each ended by a NUL (-print0)."""

import os
from collections.abc import Iterator
from typing import IO, cast

PATH_BYTES_MAX = 65_536
"""Longer than any path that Linux opens (4096), with room for paths that are percent-encoded by somebody."""


def paths_in(stream: IO[str] | IO[bytes]) -> Iterator[bytes | None]:
    """Return the paths in ``stream`` as they come, empty lines left out; None stands for one that is too long.

    Whether lines or NULs separate them shows in the first piece that has either.
    """
    rest = b""
    separator: bytes | None = None
    dropping = False
    for piece in _pieces(stream):
        rest += piece
        if separator is None and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
        *lines, rest = rest.split(separator) if separator else [rest]
        for line in lines:
            if dropping or len(line) > PATH_BYTES_MAX:
                yield None
            elif line:
                yield line
            dropping = False
        if len(rest) > PATH_BYTES_MAX:
            rest, dropping = b"", True
    if dropping or rest:
        yield None if dropping else rest


def _pieces(stream: IO[str] | IO[bytes]) -> Iterator[bytes]:
    """Return what is in the stream, in pieces as they arrive."""
    raw = cast("IO[bytes]", getattr(stream, "buffer", stream))
    take = getattr(raw, "read1", raw.read)  # read1 does not wait for a full piece while somebody types
    while piece := take(PATH_BYTES_MAX):
        yield os.fsencode(piece)
