"""Room in frames: what is read into it is what arrives, and it goes without a copy."""

import pytest
import zmq

from zgrid.transport.buffers import frame_of, frame_room
from zgrid.transport.post import send
from zgrid.transport.sockets import open_context


@pytest.fixture
def pair():
    """Yield two connected sockets."""
    context = open_context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.bind("inproc://pair")
    right.connect("inproc://pair")
    yield left, right
    left.close(0)
    right.close(0)
    context.term()


@pytest.mark.parametrize("size", [0, 1, 100_000, 1 << 20, (5 << 20) + 1])
def test_room_is_blank_writable_and_sent_as_it_is(pair, size):
    """Room of any size is sent as the frame that it is of; each room is memory of its own."""
    left, right = pair
    room, other = frame_room(size), frame_room(size)
    assert bytes(room) == bytes(size)
    assert frame_of(room) is not None
    room[:] = b"x" * size
    assert bytes(other) == bytes(size)
    send(left, [b"head", room, b"", other])
    del room
    assert right.recv_multipart() == [b"head", b"x" * size, b"", bytes(size)]


def test_part_of_a_room_is_no_frame(pair):
    """A view of a part goes as the part that it is."""
    left, right = pair
    room = frame_room(100_000)
    room[10:] = b"y" * 99_990
    assert frame_of(room[10:]) is None
    assert frame_of(b"bytes") is None
    send(left, [room[10:], room[:2]])
    assert right.recv_multipart() == [b"y" * 99_990, b"\0\0"]
