"""Memory that leaves by a socket without being copied, and without anybody being told when it has left."""

import ctypes
import mmap
from typing import Any

import zmq

from zgrid.protocol.limits import FRAME_BYTES_MAX

_MESSAGE_WORDS = 8
"""zmq_msg_t is 64 bytes in every libzmq 4 (zmq.h), aligned as pointers are."""

_MEMORY_BYTES = 2 * FRAME_BYTES_MAX

_Bytes: Any = ctypes.c_ubyte * _MEMORY_BYTES


class _Memory(_Bytes):  # type: ignore[misc]
    """Memory that a zmq_msg_t, ``message``, owns. One type serves all sizes: it is longer than any image may be.

    ``size_bytes`` is how much of it is there, and what is given away is a view of that.
    """

    message: ctypes.Array[ctypes.c_uint64]
    size_bytes: int

    def __del__(self) -> None:
        if _libzmq is not None:  # as it is when the interpreter ends
            _libzmq.zmq_msg_close(self.message)


def frame_room(size_bytes: int) -> memoryview:
    """Return room for so many bytes; ``post.send`` sends the room itself when it is given that view. From any thread.

    What is in it at first is not said. pyzmq has no empty frame of a given size; one filled with zeros cost a grid with
    images of 1 MB a sixteenth of its throughput. So libzmq is asked for it, where pyzmq lets it be found.

    pyzmq can also send Python's own bytes without a copy. But then its I/O thread must tell another thread, which needs
    the interpreter, of each that has left: for an image of 100 KB that takes longer than to copy it.
    """
    assert size_bytes <= _MEMORY_BYTES, f"no image has {size_bytes} bytes"
    if _libzmq is None:
        return _blank_frame(size_bytes)
    message = (ctypes.c_uint64 * _MESSAGE_WORDS)()
    if _libzmq.zmq_msg_init_size(message, size_bytes):
        raise MemoryError(f"there is no memory for an image of {size_bytes} bytes")
    memory = _Memory.from_address(_libzmq.zmq_msg_data(message))
    memory.message, memory.size_bytes = message, size_bytes
    return memoryview(memory)[:size_bytes].cast("B")


def send_room(socket: zmq.Socket[bytes], data: bytes | memoryview, flags: int) -> bool:
    """Send ``data`` if it is a whole room; return whether it is. Raises zmq.ZMQError. It may be sent again."""
    room = data.obj if type(data) is memoryview else None
    if isinstance(room, _Memory) and room.size_bytes == len(data):
        _send(socket, room.message, flags)
    elif isinstance(room, zmq.Frame) and len(room) == len(data):
        socket.send(room, flags, copy=False)
    else:
        return False
    return True


def _send(socket: zmq.Socket[bytes], message: ctypes.Array[ctypes.c_uint64], flags: int) -> None:
    """Send a copy of a message, which shares its memory: that lives until the view is gone and the copy has left."""
    copy = (ctypes.c_uint64 * _MESSAGE_WORDS)()
    _libzmq.zmq_msg_init(copy)
    _libzmq.zmq_msg_copy(copy, message)
    if _libzmq.zmq_msg_send(copy, socket.underlying, flags) < 0:
        errno = _libzmq.zmq_errno()
        _libzmq.zmq_msg_close(copy)
        raise zmq.Again(errno) if errno == zmq.EAGAIN else zmq.ZMQError(errno)


def _find_libzmq() -> Any:
    """Return the libzmq that pyzmq uses, None where its functions cannot be found: in a build of another kind."""
    try:
        import zmq.backend.cython._zmq as binding  # noqa: PLC0415  PyPy has another

        library = ctypes.PyDLL(binding.__file__)  # which finds what it is linked with; these calls never wait
        for name, arguments, result in (
            ("zmq_msg_init", (ctypes.c_void_p,), ctypes.c_int),
            ("zmq_msg_init_size", (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_int),
            ("zmq_msg_data", (ctypes.c_void_p,), ctypes.c_void_p),
            ("zmq_msg_copy", (ctypes.c_void_p, ctypes.c_void_p), ctypes.c_int),
            ("zmq_msg_send", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int), ctypes.c_int),
            ("zmq_msg_close", (ctypes.c_void_p,), ctypes.c_int),
            ("zmq_errno", (), ctypes.c_int),
        ):
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
    except (ImportError, OSError, AttributeError):
        return None
    return library


def _blank_frame(size_bytes: int) -> memoryview:
    """Return the view of a pyzmq frame of zeros."""
    global _blank  # noqa: PLW0603  it only ever grows; two threads at once make two, of which one is kept
    blank = _blank
    if size_bytes > len(blank):
        blank = _blank = _blanks(1 << (size_bytes - 1).bit_length())
    room: memoryview = zmq.Frame(blank[:size_bytes], copy=True).buffer
    return room


def _blanks(size_bytes: int) -> memoryview:
    """Return so many zeros. They take no memory: pages that were never written are all the same one."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return memoryview(mmap.mmap(-1, size_bytes, flags=flags, prot=mmap.PROT_READ))


_blank = _blanks(1 << 20)
_libzmq = _find_libzmq()
