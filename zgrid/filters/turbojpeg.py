"""libjpeg-turbo's lossless transform: a JPEG file's blocks, taken out of their code, changed here and there, put back.

The library is the system's (Debian: libturbojpeg0), called directly; where it is missing, pictures are encoded anew.
What is used of it is the same in all its versions from 2.0 on.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Blocks = npt.NDArray[np.int16]
"""One row of a component's blocks: number of blocks x 64 quantised coefficients, in the order of rows of the block."""
Visit = Callable[[int, int, Blocks], None]
"""Called for each component and row of blocks; may change the blocks in place, and may not keep them."""

LIBRARY = "libturbojpeg.so.0"
"""Its name has been the same since 2010."""

_COPY_NO_MARKERS = 64
_LIMIT_SCANS = 32768
"""A progressive file of very many scans is an attack: it takes minutes."""
_FAILED = -1


class _Region(ctypes.Structure):
    """A part of a component, in samples."""


class _Transform(ctypes.Structure):
    """What is asked for."""


_Region._fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))
_Filter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _Region, _Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_Transform._fields_ = (
    ("region", _Region),
    ("operation", ctypes.c_int),
    ("options", ctypes.c_int),
    ("data", ctypes.c_void_p),
    ("filter", _Filter),
)


@cache
def _library() -> Any:
    """Return the library with its functions declared, None when it is not here or is none that we know."""
    try:
        library = ctypes.CDLL(LIBRARY)
        library.tjInitTransform.restype = ctypes.c_void_p
        library.tjTransform.argtypes = (
            *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int),
            *(ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_ulong)),
            *(ctypes.POINTER(_Transform), ctypes.c_int),
        )
        library.tjDestroy.argtypes = (ctypes.c_void_p,)
        library.tjFree.argtypes = (ctypes.c_void_p,)
    except (OSError, AttributeError):
        return None
    return library


def is_here() -> bool:
    """Return whether the library is installed."""
    return _library() is not None


def transform(data: bytes | memoryview, visit: Visit) -> bytes | None:
    """Return a JPEG file with its blocks as ``visit`` leaves them, and without EXIF, profile and other such segments.

    Blocks that are not changed are those of the original, to the bit. Returns None when the library is missing or does
    not like the file; raises what ``visit`` raises.
    """
    library = _library()
    handle = library.tjInitTransform() if library else None
    if not handle:
        return None
    raised: list[BaseException] = []

    def each_row(address: int, row: _Region, _plane: _Region, component: int, *_: object) -> int:
        try:
            there = (ctypes.c_int16 * (row.w * row.h)).from_address(address)
            visit(component, row.y // row.h, np.frombuffer(there, np.int16).reshape(-1, 64))
        except BaseException as error:  # noqa: BLE001  it may not pass through the library: it is raised below
            raised.append(error)
            return _FAILED
        return 0

    given = np.frombuffer(data, np.uint8)
    order = _Transform(options=_COPY_NO_MARKERS, filter=_Filter(each_row))
    made, size = ctypes.c_void_p(), ctypes.c_ulong()
    try:
        status = library.tjTransform(
            handle, given.ctypes.data, given.size, 1, ctypes.byref(made), ctypes.byref(size), ctypes.byref(order),
            _LIMIT_SCANS,
        )  # fmt: skip
        if raised:
            raise raised[0]
        return ctypes.string_at(made, size.value) if status == 0 else None
    finally:
        if made:
            library.tjFree(made)
        library.tjDestroy(handle)
