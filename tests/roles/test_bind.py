"""Places in the file system that sockets are bound to: ZeroMQ would remove whatever is there."""

import socket

import pytest
import zmq

from zgrid.errors import SettingsError
from zgrid.transport.sockets import bind


@pytest.fixture
def make():
    """Yield what makes a socket of a kind; all of them are closed without waiting."""
    context, sockets = zmq.Context(), []

    def socket_of(kind):
        sockets.append(context.socket(kind))
        return sockets[-1]

    yield socket_of
    for one in sockets:
        one.close(0)
    context.term()


def test_a_file_is_not_taken_for_a_socket(make, tmp_path):
    """A photograph whose path was given as an address by mistake stays what it is."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"a photograph")
    with pytest.raises(
        SettingsError, match=r"photo\.jpg is there already and is no socket: give --bind a path of its own"
    ):
        bind(make(zmq.ROUTER), f"ipc://{path}", "--bind")
    assert path.read_bytes() == b"a photograph"


def test_a_place_in_use_is_taken(make, tmp_path):
    """A second one does not take the address away from the first, which goes on as before."""
    address = f"ipc://{tmp_path}/v"
    first = make(zmq.ROUTER)
    assert bind(first, address, "--bind") == address
    for _ in range(200):  # more than anybody accepts at once
        with pytest.raises(SettingsError, match=r"is taken: is another zgrid running there\? Give --bind another path"):
            bind(make(zmq.ROUTER), address, "--bind")
    dealer = make(zmq.DEALER)
    dealer.connect(address)
    dealer.send(b"still here?")
    assert first.poll(10_000)
    assert first.recv_multipart()[1] == b"still here?"


def test_what_a_killed_process_left_is_taken_over(make, tmp_path):
    """Nobody answers there any more."""
    path = tmp_path / "v"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert bind(make(zmq.ROUTER), f"ipc://{path}", "--bind") == f"ipc://{path}"


def test_a_place_that_lets_in_others_only_is_taken(make, tmp_path, monkeypatch):
    """Whose socket may not be connected to by this user is alive for all we know."""
    address = f"ipc://{tmp_path}/v"
    first = make(zmq.ROUTER)
    bind(first, address, "--bind")

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(socket.socket, "connect", refuse)  # root may connect to any
    with pytest.raises(SettingsError, match="is taken"):
        bind(make(zmq.ROUTER), address, "--bind")
