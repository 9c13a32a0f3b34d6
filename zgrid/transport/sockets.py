"""Every socket that zgrid opens, with the reason for each option. What is not set here has ZeroMQ's default.

ZMTP heartbeats are on no socket: on a data lane under backpressure they would kill a healthy link, and on control
sockets our own beats do more, for they prove that the process turns its loop.
"""

import stat
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM
from socket import socket as Socket  # noqa: N812  every other socket here is one of ZeroMQ's

import zmq

from zgrid.errors import SettingsError
from zgrid.protocol.limits import FRAME_BYTES_MAX, HEADER_BYTES_MAX
from zgrid.transport.arrivals import EVENTS
from zgrid.transport.doors import have_descriptors
from zgrid.transport.keyring import Curve

CONTROL_HWM = 10_000
"""Control messages are small and always read; this is far beyond what a healthy peer leaves unread."""

LANE_HWM = 4
"""Messages, each a batch: credit bounds what is in a lane, so more would only hide how slow the worker is."""

RESULTS_HWM = 4
"""The same at the sink's intake; what does not fit waits at the worker, where it slows the children down."""

CONTROL_LINGER_MS = 1000
"""What was said last, such as the answer to who asked for the end, has this long to leave on a busy machine."""

RECONNECT_MS_MAX = 250
"""Somebody who is back is found in a quarter of a second. Four refused attempts a second cost nobody anything."""

CONNECT_MS_MAX = 2000
"""Then a connection is tried anew: left to itself TCP pauses ever longer, and is back half a minute after a link that
was cut for a minute. It is enough for a way round the earth on which one packet is lost."""

HANDSHAKE_BYTES_MAX = 4096
"""The longest command of a handshake takes a few hundred."""

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted; in a flood an honest one must find room among them."""

KERNEL_BUFFER_BYTES = 1 << 20
"""Enough for one batch in flight: larger kernel buffers only hide a slow peer."""


def open_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the process's one context, with room for a lane for each of thousands of workers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.max_sockets = 65_535
    have_descriptors()
    return context


def _set(socket: zmq.Socket[bytes], linger_ms: int, message_bytes_max: int) -> None:
    socket.linger = linger_ms  # never the default, which waits for ever for a peer that is gone
    socket.maxmsgsize = message_bytes_max  # per frame; a longer one costs its sender the connection
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)  # a port scanner does not hold a half-open session for 30 s
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS_MAX)
    # Half-open connections end in about 10 s even where nothing is sent and our own beats do not look.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 2)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, 10_000)
    socket.setsockopt(zmq.IPV6, 1)


def bind(socket: zmq.Socket[bytes], address: str, what: str) -> str:
    """Bind and return the address with the port filled in; ``what`` names the option in the error."""
    try:
        if address.startswith("ipc://"):
            _check_place(address, what)
        socket.bind(address)
    except SettingsError:
        socket.close(0)
        raise
    except zmq.ZMQError as error:
        socket.close(0)
        if error.errno == zmq.EADDRINUSE:
            raise SettingsError(
                f"{address} is taken: is another zgrid running there? Give {what} another port"
            ) from None
        raise SettingsError(
            f"cannot bind {address} ({error.strerror}): {what} is an address of this machine, such as "
            f"{'ipc:///path in a folder that is there' if address.startswith('ipc:') else 'tcp://*:PORT'}"
        ) from None
    if not address.startswith("tcp://"):
        return address
    # Only the port may be news. The host stays as given: ZeroMQ says 0.0.0.0 for "*", and nobody can connect there.
    port = socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    return f"{address.rpartition(':')[0]}:{port}"


def _check_place(address: str, what: str) -> None:
    """Raise SettingsError where an ipc address is taken: ZeroMQ removes whatever is there, even what is in use."""
    path = Path(address.removeprefix("ipc://"))
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there, or nothing can be: then bind says so
    if not stat.S_ISSOCK(mode):
        raise SettingsError(f"{path} is there already and is no socket: give {what} a path of its own")
    with Socket(AF_UNIX, SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by a process that was killed, or just gone
        except OSError:
            pass  # somebody is there and has much to accept, or lets in others only
    raise SettingsError(f"{address} is taken: is another zgrid running there? Give {what} another path")


def control_router(
    context: zmq.Context[zmq.Socket[bytes]], frame_bytes_max: int = HEADER_BYTES_MAX
) -> zmq.Socket[bytes]:
    """Return the bound side of a control conversation, to be given longer frames only where images are put.

    With keys, nobody names itself, and so nobody that reconnects takes over what an older connection had.
    """
    socket = context.socket(zmq.ROUTER)
    _set(socket, CONTROL_LINGER_MS, frame_bytes_max)
    socket.router_mandatory = True  # an unroutable message is an error that we count, not a silent drop
    socket.router_handover = True  # a worker that reconnects before its old connection is found dead is let in
    socket.backlog = BACKLOG
    socket.sndhwm = socket.rcvhwm = CONTROL_HWM
    return socket


def control_dealer(
    context: zmq.Context[zmq.Socket[bytes]],
    identity: bytes,
    address: str,
    what: str = "the address",
    *,
    monitored: bool = False,
    immediate: bool = True,
    curve: Curve | None = None,
) -> zmq.Socket[bytes]:
    """Return the connecting side of a control conversation; one that is ``monitored`` is for ``Arrivals``.

    ``immediate``: nothing is queued for a peer that is not there. The price: what has come but is not read yet is lost
    with the connection (libzmq ends the whole pipe then), so who waits for a peer's last word goes without.
    """
    socket = context.socket(zmq.DEALER)
    _set(socket, CONTROL_LINGER_MS, HEADER_BYTES_MAX)
    if curve is None:
        socket.routing_id = identity
    else:
        curve.apply(socket)  # known by its key then: a name of one's own choice is one that others can take
    socket.immediate = immediate
    socket.sndhwm = socket.rcvhwm = CONTROL_HWM
    monitor = socket.get_monitor_socket(EVENTS) if monitored else None
    try:
        return connect(socket, address, what)
    except SettingsError:
        if monitor is not None:
            monitor.close(0)
        raise


def connect(socket: zmq.Socket[bytes], address: str, what: str) -> zmq.Socket[bytes]:
    """Connect (which succeeds whether or not anybody is there) and return the socket. Raises SettingsError."""
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise SettingsError(f"cannot connect to {address} ({error}): {what} looks like tcp://HOST:PORT") from None
    return socket


def lane_push(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """Return the ventilator's end of a lane, to be bound."""
    socket = context.socket(zmq.PUSH)
    # What is left in a closed lane is lost on purpose: it is sent elsewhere. Nothing but a handshake comes by it.
    _set(socket, 0, HANDSHAKE_BYTES_MAX)
    socket.sndhwm = LANE_HWM
    socket.setsockopt(zmq.SNDBUF, KERNEL_BUFFER_BYTES)
    socket.setsockopt(zmq.BACKLOG, 8)  # one worker is awaited
    return socket


def lane_pull(context: zmq.Context[zmq.Socket[bytes]], address: str, curve: Curve | None = None) -> zmq.Socket[bytes]:
    """Return the worker's end of a lane."""
    socket = context.socket(zmq.PULL)
    if curve is not None:
        curve.apply(socket)
    _set(socket, 0, FRAME_BYTES_MAX)
    socket.rcvhwm = LANE_HWM
    return connect(socket, address, "a lane's address")


def intake_pull(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """Return the sink's intake, to be bound."""
    socket = context.socket(zmq.PULL)
    _set(socket, 0, FRAME_BYTES_MAX)
    socket.backlog = BACKLOG
    socket.rcvhwm = RESULTS_HWM
    return socket


def results_push(
    context: zmq.Context[zmq.Socket[bytes]], address: str, curve: Curve | None = None
) -> zmq.Socket[bytes]:
    """Return a worker's connection to a sink's intake; with keys it is for ``Arrivals``."""
    socket = context.socket(zmq.PUSH)
    if curve is not None:
        curve.apply(socket)
        socket.get_monitor_socket(EVENTS)
    _set(socket, 2000, FRAME_BYTES_MAX)  # at exit the last results get two seconds to leave
    socket.sndhwm = RESULTS_HWM
    return connect(socket, address, "a sink's intake")
