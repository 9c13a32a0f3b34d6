"""Messages to frames and back. Whatever comes in either becomes a checked message or raises PeerError.

* frame 0: ``b"ZG"``, version, kind; four bytes
* frame 1: a msgpack map of the kind's fields; unknown keys are ignored
* frame 2 and on: the image files' own bytes, never inside msgpack, never copied to be framed
"""

from collections.abc import Sequence
from typing import Any

import msgpack

from zgrid.errors import PeerError
from zgrid.protocol.limits import BATCH_JOBS_MAX, FRAMES_MAX, HEADER_BYTES_MAX, HEADER_VALUES_MAX
from zgrid.protocol.messages import ADDED, CHECKS, KINDS, VERSION, Frame, Message

MAGIC = b"ZG"

_HEADS = {kind: MAGIC + bytes((VERSION, number)) for number, kind in KINDS.items()}


class UnknownMessageError(PeerError):
    """A version or kind that this release does not know. Counted and dropped: a newer peer is within its rights."""


def encode(message: Message) -> list[Frame]:
    """Return the frames of ``message``; image frames are the very objects given, not copies.

    Text that is not Unicode (a file name of stray bytes in a reason) gets a question mark for each stray byte.
    """
    kind = type(message)
    header = {name: getattr(message, name) for name, _, _ in CHECKS[kind]}
    for name in ADDED[kind]:
        if not header[name]:
            del header[name]
    return [_HEADS[kind], msgpack.packb(header, unicode_errors="replace"), *message.images]


def decode(frames: Sequence[Frame]) -> Message:
    """Return the message in ``frames``.

    Raises UnknownMessageError for a version or kind that is not ours, and PeerError, with what is wrong, for anything
    that the protocol does not allow. Lengths and counts are checked before anything is built.
    """
    if not 2 <= len(frames) <= FRAMES_MAX:
        raise PeerError(f"a message has 2 to {FRAMES_MAX} frames, this one {len(frames)}")
    head = bytes(frames[0][:5])
    if len(head) != 4 or not head.startswith(MAGIC):
        raise PeerError("the first frame is not that of a zgrid message")
    if head[2] != VERSION:
        raise UnknownMessageError(f"version {head[2]} is unknown here, this is version {VERSION}")
    kind = KINDS.get(head[3])
    if kind is None:
        raise UnknownMessageError(f"kind {head[3]} is unknown")
    return _build(kind, _unpack(frames[1]), tuple(frames[2:]))


class _Budget:
    """Counts a header's values while they are unpacked, and stops when there are too many."""

    def __init__(self) -> None:
        self._left = HEADER_VALUES_MAX

    def hooks(self) -> dict[str, Any]:
        """Return the arguments of ``unpackb`` that make it count here."""
        return {"list_hook": self._array, "object_hook": self._map}

    def _array(self, array: list[Any]) -> list[Any]:
        self._spend(len(array))
        return array

    def _map(self, entries: dict[str, Any]) -> dict[str, Any]:
        self._spend(2 * len(entries))
        return entries

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise ValueError(f"it holds more than {HEADER_VALUES_MAX} values")


def _refuse_extension(code: int, _: bytes) -> Any:
    """Refuse what ``max_ext_len`` lets through: extensions without content."""
    raise ValueError(f"it holds extension type {code}")


def _unpack(data: Frame) -> dict[str, Any]:
    if len(data) > HEADER_BYTES_MAX:
        raise PeerError(f"a header has at most {HEADER_BYTES_MAX} bytes, this one {len(data)}")
    try:
        header = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_array_len=BATCH_JOBS_MAX * 4,
            max_map_len=BATCH_JOBS_MAX,
            max_ext_len=0,
            ext_hook=_refuse_extension,
            # Counting costs a call for each array and map. A shorter header cannot hold too many values.
            **(_Budget().hooks() if len(data) > HEADER_VALUES_MAX else {}),
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise PeerError(
            f"the header is not what the protocol allows: {str(error)[:100] or type(error).__name__}"
        ) from None
    if type(header) is not dict:
        raise PeerError("the header is not a map")
    return header


def _build(kind: type[Message], header: dict[str, Any], images: tuple[Frame, ...]) -> Message:
    if images and not kind.CARRIES_IMAGES:
        raise PeerError(f"{kind.__name__} has no image frames, this one {len(images)}")
    values: dict[str, Any] = {"images": images}
    for name, check, needed in CHECKS[kind]:
        if name in header:
            value = header[name]
            if not check(value):
                raise PeerError(f"{kind.__name__}.{name} is not what the protocol allows")
            values[name] = value
        elif needed:
            raise PeerError(f"{kind.__name__}.{name} is missing")
    message = kind(**values)
    problem = message.disagreement()
    if problem:
        raise PeerError(f"{kind.__name__}: {problem}")
    return message
