"""When a control socket that connects has reached its peer: at once, instead of at the next beat."""

import zmq
from zmq.utils.monitor import recv_monitor_message


class Arrivals:
    """Watches one connecting socket that is ``monitored``. Poll ``monitor`` for reading, then call ``take``.

    Nothing is queued for a peer that is not there, so whoever waits for a process that is being restarted has to speak
    first when it is back. Without this it would do so at its next beat: a second late.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.monitor: zmq.Socket[bytes] = socket.get_monitor_socket()

    def take(self) -> bool:
        """Return whether the peer was reached since the last call. Never waits."""
        arrived = False
        while self.monitor.poll(0):
            recv_monitor_message(self.monitor, zmq.DONTWAIT)
            arrived = True
        return arrived

    def close(self) -> None:
        """Stop watching; before the socket itself is closed."""
        self._socket.disable_monitor()
        self.monitor.close(0)
