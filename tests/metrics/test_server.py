"""The small HTTP server: who is slow, talks too much or comes in crowds gets an end, and others their answer."""

import select
import socket
import time
from contextlib import ExitStack
from http import HTTPStatus
from threading import Event

import pytest

from zgrid.errors import SettingsError
from zgrid.metrics import server as module
from zgrid.metrics.server import CONNECTIONS_MAX, HEAD_BYTES_MAX, Answer, Server

WITHIN_S = 20.0


@pytest.fixture
def serve():
    """Starts servers with the pages given; they end with the test."""
    with ExitStack() as stack:

        def serve(**pages):
            server = Server("127.0.0.1", 0, {f"/{name}": page for name, page in pages.items()})
            stack.callback(server.close)
            return server

        yield serve


def hello(_):
    """Say hello."""
    return Answer.sentence(HTTPStatus.OK, "hello")


def connect(server):
    """Return a connection to a server."""
    return socket.create_connection(("127.0.0.1", server.port), WITHIN_S)


def answer_to(server, request):
    """Return everything that a server says to bytes; nothing where it closes the connection."""
    with connect(server) as connection:
        try:
            connection.sendall(request)
            return read(connection)
        except ConnectionError:
            return b""


def read(connection):
    """Return everything that comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def until(condition, what):
    """Look until a condition is true."""
    deadline = time.monotonic() + WITHIN_S
    poll = select.poll()
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        poll.poll(10)


def test_requests(serve):
    """A page for GET, its head for HEAD, and a sentence or a status for all else."""
    server = serve(hello=hello)
    said = answer_to(server, b"GET /hello?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.0 200 OK\r\n")
    assert said.endswith(b"\r\n\r\nhello\n")
    head = answer_to(server, b"HEAD /hello HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 6" in head
    assert b"hello" not in head
    assert b"here are /hello" in answer_to(server, b"GET /other HTTP/1.1\r\n\r\n")
    assert b" 501 " in answer_to(server, b"POST /hello HTTP/1.1\r\nContent-Length: 9\r\n\r\nsomething")
    assert b" 400 " in answer_to(server, b"GET\0 /hello\x80\xff oh no\r\n\r\n")
    assert answer_to(server, b"\r\n\r\n") == b""


def test_too_much_is_not_read(serve):
    """A head that does not end is read as far as is allowed, and then the connection ends."""
    server = serve(hello=hello)
    for request in (
        b"GET /" + b"x" * 10 * HEAD_BYTES_MAX + b" HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_BYTES_MAX + b"\r\n",
    ):
        said = answer_to(server, request)
        assert said == b"" or b" 431 " in said
    assert b"hello" in answer_to(server, b"GET /hello HTTP/1.1\r\n\r\n")


def test_who_is_slow_is_cut_off(serve, monkeypatch):
    """Bytes that come one by one, and an answer that nobody reads, hold a connection no longer than the deadline."""
    monkeypatch.setattr(module, "DEADLINE_S", 1.0)
    huge = Answer(HTTPStatus.OK, "text/plain", b"x" * (64 << 20))
    server = serve(hello=hello, huge=lambda _: huge)
    with connect(server) as drips, connect(server) as deaf:
        deaf.sendall(b"GET /huge HTTP/1.1\r\n\r\n")
        ended = []

        def drip():
            try:
                drips.send(b"G")
            except ConnectionError:
                ended.append(True)
            return ended

        until(drip, "the one that drips is cut off")
        assert len(read(deaf)) < len(huge.body)


def test_no_more_than_so_many(serve):
    """When all places are taken, others are sent away at once; a place that is free again is given again."""
    server = serve(hello=hello)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(connect(server))
        until(lambda: answer_to(server, b"GET /hello HTTP/1.1\r\n\r\n") == b"", "all places are taken")
    until(lambda: b"hello" in answer_to(server, b"GET /hello HTTP/1.1\r\n\r\n"), "there is room again")


def test_a_page_that_takes_long_stops_no_other(serve):
    """A page that waits (for a loop that hangs) leaves the others theirs."""
    go, began = Event(), Event()

    def slow(_):
        began.set()
        go.wait(WITHIN_S)
        return Answer.sentence(HTTPStatus.OK, "at last")

    server = serve(hello=hello, slow=slow)
    with connect(server) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        assert began.wait(WITHIN_S)
        assert b"hello" in answer_to(server, b"GET /hello HTTP/1.1\r\n\r\n")
        go.set()
        assert b"at last" in read(connection)


def test_an_address_that_cannot_be(serve):
    """A port that is taken, and a name that is nobody's, are one sentence each, with what to change."""
    server = serve(hello=hello)
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{server.port}: address already in use; give --metrics"):
        Server("127.0.0.1", server.port, {})
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1:0: cannot assign"):
        Server("192.0.2.1", 0, {})
    nobody = 64 * "x"  # longer than a name can be, so that no name server has to be asked
    with pytest.raises(SettingsError, match=f"{nobody} is no name of this machine"):
        Server(nobody, 9550, {})


def test_every_address_of_the_machine():
    """Without a host both kinds of addresses are served, as far as the machine has them."""
    server = Server("", 0, {"/hello": hello})
    hosts = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]
    for host in hosts:
        with socket.create_connection((host, server.port), WITHIN_S) as connection:
            connection.sendall(b"GET /hello HTTP/1.1\r\n\r\n")
            assert b"hello" in read(connection)
    server.close()


def test_closed_and_opened_again():
    """A server that is closed lets go of its port at once."""
    server = Server("127.0.0.1", 0, {"/hello": hello})
    assert b"hello" in answer_to(server, b"GET /hello HTTP/1.1\r\n\r\n")
    server.close()
    again = Server("127.0.0.1", server.port, {"/hello": hello})
    again.close()
