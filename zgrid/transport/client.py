"""Questions to a running process: sent again until answered, so that a lost message costs a moment and no more."""

import itertools
import os
from contextlib import suppress
from typing import Any, Self

import zmq

from zgrid.errors import PeerError, RefusedError, SettingsError, ZGridError
from zgrid.protocol import wire
from zgrid.protocol.messages import Answer, Put, Question
from zgrid.protocol.rights import SINK, VENTILATOR
from zgrid.transport.arrivals import Arrivals
from zgrid.transport.clock import new_boot
from zgrid.transport.clock import now as clock_now
from zgrid.transport.keyring import Curve, Key, list_of, read_list
from zgrid.transport.sockets import control_dealer, open_context

ASK_AGAIN_MS = 500

PUT_AGAIN_MS = 2000
"""The same for images, which are on disk before they are answered, and the time that their way may take beside."""

LINK_BYTES_PER_MS = 1000
"""The slowest link that images are put over: 8 Mbit/s."""


WHO_MS = 1000
"""How long to ask who is there, where nobody has answered to images."""

LOOK_EVERY_MS = 50
"""How often to look whether the other side turns us away, while there is no connection."""

_STRAYS = {chr(0xDC00 + byte) for byte in range(0x80, 0x100)}
"""What bytes that are not UTF-8 are in Python's text (PEP 383)."""


class UnansweredError(ZGridError):
    """Nobody answered in time."""


class Client:
    """A connection to the control socket at ``address``, for one thread. Raises SettingsError for a wrong address.

    ``key``: an operator's, where the other side has keys.

    ``timeout_ms``, here and below: how long nothing at all may come back. A process that is at work on a question says
    so when it is asked again, and then the time begins anew.
    """

    def __init__(self, address: str, key: Key | None = None) -> None:
        self.address = address
        self._curves = [None] if key is None or address.startswith("ipc://") else _curves(key, address)
        self._tried = 0
        self._context = open_context()
        self._numbers = itertools.count(1)
        try:
            self._dial()
        except BaseException:
            self._context.term()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        if not self._context.closed:
            self._hang_up()
            self._context.term()

    def ask(self, question: dict[str, Any], timeout_ms: int = 5000) -> dict[str, Any]:
        """Return the answer to ``question``, plain data with ``"what"`` in it.

        Raises UnansweredError when there is none within ``timeout_ms``, SettingsError with the sentence of a process
        that finds the question wrong or for text that is not Unicode, and RefusedError with the sentence of one that
        cannot do what is asked now.
        """
        _refuse_strays(question)
        return self._exchange(Question(id=next(self._numbers), body=question), timeout_ms, ASK_AGAIN_MS)

    def put(self, names: list[str], images: list[bytes], terms: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        """Have a ventilator accept images, all or none, and return its answer; errors are those of ``ask``.

        ``terms``: chain, priority, delay_ms, ttr_ms and attempts, as PUT has them. At a sink's address it is a
        SettingsError.
        """
        message = Put(id=next(self._numbers), names=names, images=tuple(images), **terms)
        way_ms = sum(map(len, images)) // LINK_BYTES_PER_MS
        try:
            return self._exchange(message, timeout_ms + way_ms, PUT_AGAIN_MS + way_ms)
        except UnansweredError:
            self._refuse_sink(min(timeout_ms, WHO_MS))
            raise

    def _refuse_sink(self, patience_ms: int) -> None:
        """Raise SettingsError where a sink is at the address: it answers questions, and no images."""
        with suppress(UnansweredError, RefusedError):
            if self.ask({"what": "status"}, patience_ms).get("role") == "sink":
                raise SettingsError(f"{self.address} is a sink's, which takes no images: put them to a ventilator")

    def _exchange(self, message: Question | Put, timeout_ms: int, again_ms: int) -> dict[str, Any]:
        if self._context.closed:
            raise SettingsError(f"the connection to {self.address} is closed: make a new zgrid.Client to go on")
        frames = wire.encode(message)
        deadline = clock_now() + timeout_ms / 1000
        while (left_ms := int((deadline - clock_now()) * 1000)) > 0:
            self._see_whether_turned_away()
            if self._arrivals.here:
                self._socket.send_multipart(frames)
                answer = self._await(message.id, min(left_ms, again_ms))
            else:
                answer = self._await_unconnected(message.id, min(left_ms, LOOK_EVERY_MS))
            if answer is None:
                continue
            if not answer.get("working"):
                return _checked(answer)
            deadline = clock_now() + timeout_ms / 1000
        self._hang_up()  # what is on its way is for whoever was there, not for the next process at that address
        self._dial()
        raise UnansweredError(f"nobody answers at {self.address}: is it running there, and is the port right?")

    def _dial(self) -> None:
        """Connect with the keys whose turn it is."""
        curve = self._curves[self._tried % len(self._curves)]
        self._socket = control_dealer(
            self._context, new_boot(), self.address, monitored=True, immediate=False, curve=curve
        )
        self._arrivals = Arrivals(self._socket, self.address, keyed=curve is not None)

    def _hang_up(self) -> None:
        self._arrivals.close()
        self._socket.close(0)

    def _see_whether_turned_away(self) -> None:
        """Try the next keys where these are not the right ones. Raises SettingsError once all were tried."""
        self._arrivals.take()
        if len(self._curves) == 1 and not self._arrivals.trouble:
            return
        if not self._arrivals.hung_up:
            return
        trouble, refused = self._arrivals.trouble, self._arrivals.refused
        is_last = self._tried % len(self._curves) == len(self._curves) - 1
        if is_last and not trouble:
            return
        self._hang_up()
        self._tried = 0 if refused else self._tried + 1
        self._dial()
        if refused or is_last:
            raise SettingsError(trouble)

    def _await_unconnected(self, number: int, patience_ms: int) -> dict[str, Any] | None:
        """Wait for a connection, and return the answer where the last one brought it: a last word, often."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._arrivals.monitor, zmq.POLLIN)
        if any(source is self._socket for source, _ in poller.poll(patience_ms)):
            return self._await(number, patience_ms)
        return None

    def _await(self, number: int, patience_ms: int) -> dict[str, Any] | None:
        """Return the answer of this number, None when there is none in time. A mere sign of life is taken in last."""
        deadline = clock_now() + patience_ms / 1000
        sign: dict[str, Any] | None = None
        while (left_ms := int((deadline - clock_now()) * 1000)) > 0 and self._socket.poll(left_ms):
            try:
                message = wire.decode(self._socket.recv_multipart())
            except PeerError as error:
                raise ZGridError(f"what answers at {self.address} is no zgrid of this version: {error}") from None
            if type(message) is Answer and message.id == number:
                if not message.body.get("working"):
                    return message.body
                sign = message.body
        return sign


def _curves(key: Key, address: str) -> list[Curve | None]:
    """Return the keys to ask whoever is at an address with, the likeliest first: ventilators, then sinks.

    Who is enrolled with that address is meant; else anybody who has none. Raises SettingsError where nobody is left.
    """
    path = list_of(key)
    members = key.calls if path is None else read_list(path, key.grid)
    known = sorted((one for one in members if one.role in (VENTILATOR, SINK)), key=lambda one: one.role == SINK)
    found = [one for one in known if address in one.at] or [one for one in known if not one.at]
    if not found:
        raise SettingsError(f"{key.path} knows nobody at {address}: enroll it there with --at {address}")
    return [key.curve(one.public) for one in found]


def _refuse_strays(value: Any) -> None:
    """Raise SettingsError for text that is not Unicode: on its way it would turn into ?, which fits any letter."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            byte = os.fsencode(value[error.start])[:1] if value[error.start] in _STRAYS else b"\xff"
            sentence = (
                f"{value!r} is not UTF-8: URIs are percent-encoded, so write %{byte.hex().upper()} for such a byte"
            )
            raise SettingsError(sentence) from None
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            _refuse_strays(one)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer; raise the error where it is one."""
    if "error" not in answer:
        return answer
    sentence = str(answer["error"])
    if answer.get("wrong"):
        image = answer.get("image")
        raise SettingsError(sentence) if image is None else RefusedError(sentence, image=image)
    raise RefusedError(sentence)


def ask(address: str, question: dict[str, Any], timeout_ms: int = 5000, key: Key | None = None) -> dict[str, Any]:
    """Return the answer of the process at ``address`` to one question; see ``Client.ask``."""
    with Client(address, key) as client:
        return client.ask(question, timeout_ms)
