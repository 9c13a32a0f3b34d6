"""Room in frames: what is read into it is what arrives, and it goes without a copy."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from zgrid.transport import buffers
from zgrid.transport.buffers import frame_room, send_room
from zgrid.transport.post import send
from zgrid.transport.sockets import open_context


@pytest.fixture(params=["libzmq", "pyzmq"])
def way(request, monkeypatch):
    """Have room made by libzmq itself, or by pyzmq alone, where libzmq cannot be found."""
    if request.param == "pyzmq":
        monkeypatch.setattr(buffers, "_libzmq", None)
    else:
        assert buffers._libzmq is not None, "the pyzmq that is installed here lets libzmq be found"
    return request.param


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
def test_room_is_writable_and_sent_as_it_is(way, pair, size):
    """Room of any size is sent as the frame that it is of; each room is memory of its own."""
    left, right = pair
    room, other = frame_room(size), frame_room(size)
    room[:] = b"x" * size
    other[:] = b"y" * size
    assert bytes(room) == b"x" * size
    send(left, [b"head", room, b"", other])
    del room
    assert right.recv_multipart() == [b"head", b"x" * size, b"", b"y" * size]


def test_room_may_be_sent_again(way, pair):
    """What was sent is still there, for a message that has to go once more."""
    left, right = pair
    room = frame_room(100_000)
    room[:] = b"z" * 100_000
    send(left, [b"first", room])
    send(left, [b"second", room])
    assert right.recv_multipart() == [b"first", b"z" * 100_000]
    assert right.recv_multipart() == [b"second", b"z" * 100_000]
    assert bytes(room) == b"z" * 100_000


def test_room_goes_without_a_copy(way, pair):
    """Where nothing is between two sockets, what arrives lies where it was written."""
    left, right = pair
    room = frame_room(1 << 20)
    send(left, [room])
    arrived = right.recv(copy=False).buffer
    room[:5] = b"later"
    assert bytes(arrived[:5]) == b"later"


def test_part_of_a_room_is_no_room(way, pair):
    """A view of a part goes as the part that it is."""
    left, right = pair
    room = frame_room(100_000)
    room[:10] = b"x" * 10
    room[10:] = b"y" * 99_990
    assert not send_room(left, room[10:], 0)
    assert not send_room(left, b"bytes", 0)
    send(left, [room[10:], room[:2]])
    assert right.recv_multipart() == [b"y" * 99_990, b"xx"]


def test_room_that_cannot_go_says_so(way):
    """A socket without a peer takes no room, as it takes nothing else."""
    context = open_context()
    push = context.socket(zmq.PUSH)
    room = frame_room(100_000)
    with pytest.raises(zmq.Again):
        send(push, [room])
    push.close(0)
    context.term()
    with pytest.raises(zmq.ZMQError):
        send(push, [room])


def test_memory_comes_back(way, pair):
    """Room that was sent, or was not, is given back when nobody has it any more."""
    left, right = pair
    before = resident_bytes()
    for turn in range(200):
        room = frame_room(4 << 20)
        room[:] = bytes(4 << 20)
        if turn % 2:
            send(left, [room])
            right.recv(copy=False)
    del room
    gc.collect()
    assert resident_bytes() - before < 100 << 20, "of 800 MiB that were made, one or two at a time"


def test_no_memory_is_said():
    """Room that cannot be had is a MemoryError, not a crash."""
    code = """
import resource
from zgrid.transport.buffers import frame_room
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    frame_room(1 << 30)
except MemoryError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "there is no memory for an image of 1073741824 bytes\n", done.stderr


def resident_bytes():
    """Return the memory that this process has in core."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
