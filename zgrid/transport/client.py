"""Questions to a running process: sent again until answered, so that a lost message costs a moment and no more."""

import itertools
from typing import Any, Self

import zmq

from zgrid.errors import PeerError, ZGridError
from zgrid.protocol import wire
from zgrid.protocol.messages import Answer, Question
from zgrid.transport.clock import new_boot
from zgrid.transport.clock import now as clock_now
from zgrid.transport.sockets import control_dealer, open_context

ASK_AGAIN_MS = 500


class UnansweredError(ZGridError):
    """Nobody answered in time."""


class Client:
    """A connection to the control socket at ``address``, for one thread. Raises SettingsError for a wrong address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._context = open_context()
        self._numbers = itertools.count(1)
        try:
            self._socket = control_dealer(self._context, new_boot(), address)
        except BaseException:
            self._context.term()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close(0)
        self._context.term()

    def ask(self, question: dict[str, Any], timeout_ms: int = 5000) -> dict[str, Any]:
        """Return the answer to ``question``, plain data with ``"what"`` in it.

        Raises UnansweredError when there is none within ``timeout_ms``, and ZGridError with the sentence of a process
        that will not answer.
        """
        number = next(self._numbers)
        frames = wire.encode(Question(id=number, body=question))
        deadline = clock_now() + timeout_ms / 1000
        while (left_ms := int((deadline - clock_now()) * 1000)) > 0:
            if self._socket.poll(left_ms, zmq.POLLOUT):
                self._socket.send_multipart(frames)
                answer = self._await(number, min(left_ms, ASK_AGAIN_MS))
                if answer is not None:
                    return answer
        raise UnansweredError(f"nobody answers at {self.address}: is it running there, and is the port right?")

    def _await(self, number: int, patience_ms: int) -> dict[str, Any] | None:
        deadline = clock_now() + patience_ms / 1000
        while (left_ms := int((deadline - clock_now()) * 1000)) > 0 and self._socket.poll(left_ms):
            try:
                message = wire.decode(self._socket.recv_multipart())
            except PeerError as error:
                raise ZGridError(f"what answers at {self.address} is no zgrid of this version: {error}") from None
            if type(message) is Answer and message.id == number:
                if "error" in message.body:
                    raise ZGridError(str(message.body["error"]))
                return message.body
        return None


def ask(address: str, question: dict[str, Any], timeout_ms: int = 5000) -> dict[str, Any]:
    """Return the answer of the process at ``address`` to one question; see ``Client.ask``."""
    with Client(address) as client:
        return client.ask(question, timeout_ms)
