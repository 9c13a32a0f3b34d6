"""Memory that leaves by a socket without being copied, and without anybody being told when it has left."""

import mmap

import zmq


def _blanks(size_bytes: int) -> memoryview:
    """Return so many zeros. They take no memory: pages that were never written are all the same one."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return memoryview(mmap.mmap(-1, size_bytes, flags=flags, prot=mmap.PROT_READ))


_blank = _blanks(1 << 20)


def frame_room(size_bytes: int) -> memoryview:
    """Return room in a new frame. ``post.send`` sends the frame itself when it is given that view. From any thread.

    pyzmq can also send Python's own bytes without a copy. But then its I/O thread must tell another thread, which needs
    the interpreter, of each that has left: for an image of 100 KB that takes longer than to copy it.
    """
    global _blank  # noqa: PLW0603  it only ever grows; two threads at once make two, of which one is kept
    blank = _blank
    if size_bytes > len(blank):
        blank = _blank = _blanks(1 << (size_bytes - 1).bit_length())
    room: memoryview = zmq.Frame(blank[:size_bytes], copy=True).buffer  # pyzmq has no empty frame of a given size
    return room


def frame_of(data: bytes | memoryview) -> zmq.Frame | None:
    """Return the whole frame that a view is of, None for other bytes."""
    frame: object = data.obj if type(data) is memoryview else None
    return frame if isinstance(frame, zmq.Frame) and len(frame) == len(data) else None
