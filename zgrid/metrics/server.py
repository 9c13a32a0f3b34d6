"""A small HTTP server in threads of its own: /metrics, /healthz and /readyz, and nothing that could hold a role up.

Whoever asks gets DEADLINE_S for the whole of it, however slowly bytes come and go; no more than CONNECTIONS_MAX are
served at the same time, and what they send is read up to HEAD_BYTES_MAX.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BufferedIOBase
from threading import BoundedSemaphore, Thread, Timer
from typing import Any, NamedTuple

from zgrid.errors import SettingsError

DEADLINE_S = 10.0
CONNECTIONS_MAX = 16
HEAD_BYTES_MAX = 16384

PLAIN_TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What is answered to a GET."""

    status: HTTPStatus
    content_type: str
    body: bytes

    @classmethod
    def sentence(cls, status: HTTPStatus, text: str) -> "Answer":
        """Return an answer of one line for people."""
        return cls(status, PLAIN_TEXT, f"{text}\n".encode())


Page = Callable[[str], Answer]
"""Called in a thread with the request's Accept header."""


class Server:
    """Serves ``pages``, by path, at ``host``:``port`` until ``close``; no host: everywhere, port 0: any free one.

    Raises SettingsError where it cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        try:
            family, place = _resolved(host, port)
            self._http = _Http(family, place, pages)
        except (OSError, UnicodeError) as error:
            shown = f"[{host}]" if ":" in host else host
            why = f"{host} is no name of this machine"
            if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
                why = error.strerror or str(error)
            raise SettingsError(
                f"cannot serve metrics at {shown}:{port}: {why[0].lower()}{why[1:]}; give --metrics another address, "
                f"one for each role on a machine"
            ) from None
        self.port: int = self._http.server_address[1]
        self._thread = Thread(target=self._http.serve_forever, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more. Waits for no connection: what is under way ends with its deadline or the process."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _resolved(host: str, port: int) -> tuple[int, Any]:
    """Return the kind of address and the address; for no host every address of this machine, of both kinds."""
    if not host and socket.has_dualstack_ipv6():
        return socket.AF_INET6, ("::", port)
    family, _, _, _, place = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]  # noqa: S104
    return family, place


class _Http(HTTPServer):
    """Accepts, and serves each connection in a thread, up to the limit."""

    request_queue_size = 2 * CONNECTIONS_MAX

    def __init__(self, family: int, place: Any, pages: dict[str, Page]) -> None:
        self.address_family = family
        self.pages = pages
        self._free = BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking a name server for the name of this machine as the library does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.server_address[0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; close it at once where too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            Thread(target=self._serve, args=(request, client_address), name="scrape", daemon=True).start()
        except RuntimeError:  # no thread is to be had
            self._free.release()
            self.shutdown_request(request)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        deadline = Timer(DEADLINE_S, _cut, [request])
        deadline.daemon = True
        try:
            deadline.start()
            self.finish_request(request, client_address)
        except (OSError, RuntimeError, ValueError):
            pass  # it went away, or was cut off; nobody is to be told
        finally:
            deadline.cancel()
            self.shutdown_request(request)
            self._free.release()


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Head:
    """Reads a request's head, and no more of it than is allowed."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._left = HEAD_BYTES_MAX
        self.close = file.close
        self.closed = False

    def readline(self, limit: int = -1) -> bytes:
        """Return a line. Raises ValueError at the limit of the head, which ends the connection."""
        line = self._file.readline(min(limit, self._left) if limit >= 0 else self._left)
        self._left -= len(line)
        if not self._left:
            raise ValueError("its head is too long")
        return line


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, then closes."""

    server: _Http
    timeout = DEADLINE_S
    server_version = "zgrid"
    sys_version = ""

    def setup(self) -> None:
        """Bound what is read."""
        super().setup()
        self.rfile = _Head(self.rfile)  # type: ignore[assignment]  # a request without a body needs readline alone

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the page."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        pages = self.server.pages
        page = pages.get(self.path.partition("?")[0])
        if page is None:
            answer = Answer.sentence(HTTPStatus.NOT_FOUND, f"here are {', '.join(pages)}")
        else:
            answer = page(self.headers.get("Accept", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the library calls it so
        """Write nothing: a scraper every few seconds is no news."""
