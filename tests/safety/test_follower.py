"""What a role that calls others takes from them: a list of who is allowed, refusals, keys."""

import socket
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest
import zmq
from gatehouse import enrolled, until

from zgrid.errors import SettingsError
from zgrid.log import Event, configure
from zgrid.protocol import wire
from zgrid.protocol.messages import Refuse
from zgrid.roles import porter
from zgrid.roles.calls import Calls
from zgrid.roles.telling import Telling
from zgrid.transport.loop import Loop
from zgrid.transport.sockets import control_dealer

GREETING = b"\xff" + bytes(7) + b"\x7f\x7f\x03\x00CURVE" + bytes(15) + b"\x01" + bytes(31)
ERROR = b"\x04\x0a\x05ERROR\x03400"


class Following:
    """A follower of whatever listens at ``port``, in the test's own loop."""

    def __init__(self, key, port, stack):
        self.loop, self.telling = Loop(), Telling(configure("ventilator", "photos2", "info"))
        stack.callback(self.loop.close)
        context = zmq.Context()
        stack.callback(context.term)
        home = key.calls[0]._replace(at=(f"tcp://127.0.0.1:{port}",))
        key = replace(key, calls=(home, *key.calls[1:]))
        calls = Calls(key, self.loop, self.telling)
        self.follower = porter._Follower(key, calls, self.loop, context, stack, lambda _: None)
        stack.callback(calls.close)
        self.loop.every(0.01, self.follower.tick)

    def turn(self):
        """Turn the loop once; return true, for conditions."""
        self.loop.turn()
        return True


def refuse(listener):
    """Answer one handshake with ERROR, without any key."""
    link, _ = listener.accept()
    with link:
        link.sendall(GREETING)
        seen = b""
        while len(seen) < 65:  # its greeting, and the first of its HELLO
            seen += link.recv(4096)
        link.sendall(ERROR)
        link.recv(4096)


def test_error_of_anybody_ends_no_follower(tmp_path, monkeypatch):
    """An ERROR in plain text, from whoever is at that address, is logged and nothing more."""
    monkeypatch.setattr(porter, "FIRST_WORD_S", 0.0)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=refuse, args=(listener,), daemon=True)
        thread.start()
        following = Following(enrolled(tmp_path / "keys")["photos2"], listener.getsockname()[1], stack)
        until(lambda: following.turn() and following.telling.counts[Event.TURNED_AWAY], "it is turned away")
        for _ in range(5):
            following.turn()


def test_refusal_of_its_home_ends_a_follower(tmp_path, monkeypatch):
    """A REFUSE that came with the right key does end it."""
    monkeypatch.setattr(porter, "FIRST_WORD_S", 0.0)
    keys = enrolled(tmp_path / "keys")
    with ExitStack() as stack:
        router = stack.enter_context(zmq.Context()).socket(zmq.ROUTER)
        stack.callback(router.close, 0)
        router.curve_server, router.curve_secretkey = True, keys["photos"].secret.encode()
        following = Following(keys["photos2"], router.bind_to_random_port("tcp://127.0.0.1"), stack)
        until(lambda: following.turn() and router.poll(0), "it asks")
        router.send_multipart([router.recv_multipart()[0], *wire.encode(Refuse(reason="gone", final=True))])
        with pytest.raises(SettingsError, match="was revoked"):
            until(lambda: following.turn() and False, "it ends")


def test_calls_end_after_their_sockets():
    """What fails while sockets are opened closes them first; then ending the calls is no second error."""
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        loop = Loop()
        stack.callback(loop.close)
        calls = Calls(None, loop, Telling(configure("ventilator", "photos", "info")))
        dealer = control_dealer(context, b"12345678", "tcp://127.0.0.1:9", monitored=True)
        calls.watch(dealer, "tcp://127.0.0.1:9")
        dealer.close()
        calls.close()


def test_new_key_of_a_sink_is_noticed():
    """A sink that is named with another key than before is told apart from one that has just been named again."""
    calls = Calls(None, None, None)
    first, second = b"a" * 32, b"b" * 32
    assert not calls.introduce(["tcp://s:1", "tcp://t:1"], first + second)
    assert not calls.introduce(["tcp://s:1"], b"")
    assert not calls.introduce(["tcp://s:1"], first)
    assert calls.introduce(["tcp://t:1", "tcp://s:1"], first + first) == {"tcp://t:1"}
    assert not calls.introduce(["tcp://t:1"], first)
