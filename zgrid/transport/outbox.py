"""A worker's results on their way to one sink: what the socket does not take yet waits here, and is counted."""

from collections import deque

import zmq

from zgrid.protocol import wire
from zgrid.protocol.messages import Frame, Results
from zgrid.transport.keyring import Curve
from zgrid.transport.post import send
from zgrid.transport.sockets import results_push


class Outbox:
    """Results for the sink whose intake is at ``address``. ``waiting_bytes`` is what the socket has not taken."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, curve: Curve | None = None) -> None:
        self.socket = results_push(context, address, curve)
        self.waiting_bytes = 0
        self._waiting: deque[tuple[list[Frame], int]] = deque()

    def push(self, results: Results) -> bool:
        """Send results, behind those that wait. Return whether nothing waits."""
        frames = wire.encode(results)
        size = sum(map(len, frames))
        self._waiting.append((frames, size))
        self.waiting_bytes += size
        return self.flush()

    def flush(self) -> bool:
        """Send what the socket takes now. Return whether nothing waits."""
        while self._waiting:
            frames, size = self._waiting[0]
            try:
                send(self.socket, frames)
            except zmq.Again:
                return False
            self._waiting.popleft()
            self.waiting_bytes -= size
        return True

    def close(self) -> None:
        """Close the socket; what it has taken gets a moment to leave."""
        self.socket.close()
