"""A small HTTP server for scrapes: a WSGI app on a bounded number of threads. Never in here: the app's responses.

A client can hold a thread for `TIMEOUT_S` at most, however slowly it writes or reads. When all threads are taken, the oldest client
gives way to the next: after `SILENT_S` if it has sent no request, else after `TURN_S`. Until then the next client, and all behind it, wait
for `PLACE_S`; then it gets 503. A connection serves one request (HTTP/1.0), which is enough for a scraper. Pages are made one at a time,
and a few a second: Python makes them, and the event loop waits meanwhile.
"""

from __future__ import annotations

import errno
import io
import logging
import socket
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from inferd.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    _Page = tuple[str, list[tuple[str, str]], list[bytes]]  # status, headers, body in parts

log = logging.getLogger(__name__)

NAME = "inferd"  # the Server header: it names no version and no library
MAX_CONNECTIONS = 8  # served at the same time, a thread each
TIMEOUT_S = 10.0  # for one connection from accept to close
TURN_S = 1.0  # a client with a request keeps its thread at least this long: many times what a scrape needs
SILENT_S = 0.02  # a client without a request keeps its thread at least this long: the thread may not have looked yet
PLACE_S = 0.1  # wait of a client that finds no thread: an immediate 503 would let clients retry at a rate that costs more than pages
PAGE_S = 0.1  # between two pages
PAGES_AT_ONCE = 5  # a burst that may come without that pause
ASKED = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING")  # all that pages differ by
POLL_S = 0.1  # how often the accepting thread looks for connections that are overdue
PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)  # with another port the address is to be had
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n\r\ntoo many scrapes at once\n"


@dataclass(slots=True)
class _Connection:
    thread: threading.Thread
    overdue: float  # monotonic seconds
    asked: bool = False  # its request is there


class _Exchange(WSGIRequestHandler):
    """One connection: reads a request, writes the app's response."""

    server: ScrapeServer
    error_content_type, error_message_format = "text/plain; charset=utf-8", "%(code)d %(message)s\n"

    def version_string(self) -> str:
        return NAME

    def parse_request(self) -> bool:
        return super().parse_request() and self.server.asks(self.connection)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)

    def get_stderr(self) -> Any:
        return io.StringIO()  # wsgiref's tracebacks of clients that went away: nobody's concern


def _named(app: WSGIApplication) -> WSGIApplication:
    """The same app, whose responses do not say which Python serves them."""

    def named(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return app(environ, lambda status, headers, *error: start_response(status, [*headers, ("Server", NAME)], *error))

    return named


def response_of(app: WSGIApplication, environ: WSGIEnvironment) -> _Page:
    """Runs an app, which has no more to say when it is over."""
    said: list[Any] = []
    body = list(app(environ, cast("StartResponse", lambda *status_and_headers: said.extend(status_and_headers))))
    status, headers = said
    return status, headers, body


class SharedPages:
    """A WSGI app around another. It makes pages one at a time, and at most one each PAGE_S after a burst.

    Requests that come meanwhile wait, and all equal ones share the next page: no page is older than its request."""

    def __init__(
        self, app: WSGIApplication, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._app, self._clock, self._sleep = app, clock, sleep
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, ...], Future[_Page]] = {}  # pages that are not begun
        self._making = threading.Lock()
        self._due = float("-inf")  # seconds of the clock: when the next would be made if none were at once

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            asked = tuple(environ.get(name, "") for name in ASKED)
            page = self._asked.get(asked)
            if is_first := page is None:
                page = self._asked[asked] = Future()
        assert page is not None
        if is_first:
            self._make(page, asked, environ)
        status, headers, body = page.result()
        start_response(status, headers)
        return body

    def _make(self, page: Future[_Page], asked: tuple[str, ...], environ: WSGIEnvironment) -> None:
        with self._making:
            self._wait()
            with self._lock:
                del self._asked[asked]  # a later request gets a newer page
            try:
                page.set_result(response_of(self._app, environ))
            except BaseException as error:
                page.set_exception(error)

    def _wait(self) -> None:
        now = self._clock()
        early = self._due - (PAGES_AT_ONCE - 1) * PAGE_S - now
        if early > 0:
            self._sleep(early)
        self._due = max(self._due, now) + PAGE_S


class ScrapeServer(WSGIServer):
    """Has host:port from now on, and serves `app` there once `start` is called. Port 0 picks a free one; `server_port` is the real one.

    StartError when the address is not to be had.
    """

    allow_reuse_port = False
    request_queue_size = 16

    def __init__(
        self,
        host: str,
        port: int,
        app: WSGIApplication,
        *,
        max_connections: int = MAX_CONNECTIONS,
        timeout_s: float = TIMEOUT_S,
        turn_s: float = TURN_S,
    ) -> None:
        self._max_connections = max_connections
        self._timeout_s, self._turn_s = timeout_s, turn_s
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)  # a connection
        self._open: dict[socket.socket, _Connection] = {}  # the oldest first
        self._threads = 0  # of those, and of clients that were cut off while their page is made
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            super().__init__((str(address[0]), port), _Exchange, bind_and_activate=False)
            self.server_bind()
        except OSError as error:
            if hasattr(self, "socket"):
                self.server_close()
            raise _not_listening(host, port, error) from None
        self.set_app(_named(app))
        self._accepting = threading.Thread(target=self.serve_forever, args=(POLL_S,), name="inferd-metrics", daemon=True)

    def start(self) -> None:
        """StartError where another process was quicker to listen."""
        try:
            self.server_activate()
        except OSError as error:
            raise _not_listening(self.server_name, self.server_port, error) from None
        self._accepting.start()

    def close(self) -> None:
        """Stops accepting, cuts off open connections, and waits for their threads."""
        if self._accepting.ident is not None:
            self.shutdown()
            self._accepting.join()
        self.server_close()
        with self._lock:
            threads = [connection.thread for connection in self._open.values()]
            self._break_off(list(self._open))
        for thread in threads:
            thread.join()

    @property
    def connections(self) -> int:
        """Connections that are being served now."""
        return len(self._open)

    # socketserver calls these, on the accepting thread.

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's would look our own name up in DNS
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._exchange, args=(request, client_address), name="inferd-scrape", daemon=True)
        with self._lock:
            full = not self._finds_place()
            if not full:
                self._threads += 1
                self._open[request] = _Connection(thread, time.monotonic() + self._timeout_s)
        if full:
            with suppress(OSError):
                request.setblocking(False)
                request.send(BUSY)
            self.shutdown_request(request)
            return
        try:
            thread.start()
        except RuntimeError:  # no more threads in this process
            with self._lock:
                self._threads -= 1
                del self._open[request]
            self.shutdown_request(request)

    def _finds_place(self) -> bool:
        until = time.monotonic() + PLACE_S
        while self._threads >= 2 * self._max_connections or (len(self._open) >= self._max_connections and not self._gives_way()):
            if time.monotonic() >= until:
                return False
            self._ended.wait(SILENT_S)
        return True

    def _gives_way(self) -> bool:
        """Cuts off the oldest client that has sent no request for SILENT_S, or else has had its turn. False: there is none."""
        now = time.monotonic() + self._timeout_s  # as `overdue` has it
        silent = next((client for client, one in self._open.items() if not one.asked and now >= one.overdue + SILENT_S), None)
        oldest = silent or next(iter(self._open))
        if silent is None and now < self._open[oldest].overdue + self._turn_s:
            return False
        self._break_off([oldest])
        return True

    def service_actions(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._break_off([client for client, connection in self._open.items() if now >= connection.overdue])

    # An exchange calls these, on its thread.

    def asks(self, client: socket.socket) -> bool:
        """Notes that the client's request has come. False: the client was cut off, which looks like the end of its request."""
        with self._lock:
            if client not in self._open:
                return False
            self._open[client].asked = True
            return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a scrape was broken off: %r", sys.exception())

    def _exchange(self, connection: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(connection, client_address)
        except Exception:
            self.handle_error(connection, client_address)
        finally:
            with self._lock:  # out of the table first: what is closed is never shut down by service_actions
                self._threads -= 1
                self._open.pop(connection, None)
                self._ended.notify()
            self.shutdown_request(connection)

    def _break_off(self, connections: list[socket.socket]) -> None:
        """Under the lock. Ends the reads and writes that threads wait in: half a request is none."""
        for connection in connections:
            del self._open[connection]
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _not_listening(host: str, port: int, error: OSError) -> StartError:
    other = "port (0 picks a free one, off serves none)" if error.errno in PORT_ERRORS else "host: an address that this machine has"
    return StartError(f"metrics: cannot listen on {host} port {port}: {error.strerror}; choose another metrics_{other}")
