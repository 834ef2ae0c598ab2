"""A blocking channel over HTTP/1.1, by http.client of the standard library: it takes and returns serialized messages, as gRPC's do.

A call has a connection of its own while it lasts; idle ones are kept for the next. Never in here: the REST form (rest.py, rest_infer.py),
retries.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from time import monotonic
from typing import Any, Self

import numpy as np

from inferd_client import calls, rest
from inferd_client.rest import HttpRequest, HttpResponse, Part
from inferd_client.rest_infer import infer_message, infer_request
from inferd_client.urls import Url

__all__ = ["HttpChannel"]

IDLE_S = 60.0  # servers close idle connections after 75 s and more, most of them; the client is to be first
AT_ONCE_NBYTES = 1 << 16  # so much is sent by one system call, and received with one look at the clock
PIECE_NBYTES = 1 << 20


class HttpChannel:
    """To one address. Safe to share between threads."""

    def __init__(self, url: Url, context: ssl.SSLContext | None, server_name: str | None, compression: str | None) -> None:
        self._url = url
        self._context = context if url.tls else None
        self._server_name = server_name
        self._compression = compression
        self._lock = threading.Lock()  # around the next three
        self._idle: list[_Connection] = []  # the one that was used last comes last
        self._used: set[_Connection] = set()
        self._closed = False
        self._binary: bool | None = None  # whether the server takes tensors as bytes; None: not asked yet

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
    ) -> _Unary:
        """A method of the server, as grpc.Channel has them."""
        return _Unary(self, path, request_serializer or bytes, response_deserializer or bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Calls that are under way, and later ones, end with CANCELLED."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in self._used:
                connection.abort()
        for connection in idle:
            connection.close()

    def call(self, path: str, message: bytes, timeout: float | None, metadata: calls.Pairs, flight: _Flight) -> bytes:
        """The response to one RPC. Raises InferenceError."""
        until = None if timeout is None else monotonic() + timeout
        if path != calls.MODEL_INFER:
            return rest.message_of(path, self._exchange(rest.request_of(path, message), until, metadata, flight))
        if self._binary is None:
            self._binary = rest.takes_binary(self._exchange(rest.SERVER_METADATA, until, metadata, flight))
        return infer_message(self._exchange(infer_request(message, binary=self._binary), until, metadata, flight))

    def _exchange(self, request: HttpRequest, until: float | None, metadata: calls.Pairs, flight: _Flight) -> HttpResponse:
        request = rest.with_headers(request, metadata, None if until is None else until - monotonic(), self._compression)
        connection = self._take()
        try:
            flight.begin(connection)
            response = connection.exchange(request, until)
        except (OSError, HTTPException) as error:
            if self._closed:
                raise calls.closed() from None
            if isinstance(error, TimeoutError) and until is not None:
                raise rest.late(self._url) from error
            raise rest.unreachable(self._url, error) from error
        finally:
            flight.end()
            self._give_back(connection)
        return response

    def _take(self) -> _Connection:
        oldest = monotonic() - IDLE_S
        with self._lock:
            if self._closed:
                raise calls.closed()
            while self._idle and self._idle[0].idle_since < oldest:
                self._idle.pop(0).close()
            while self._idle:
                connection = self._idle.pop()
                if connection.is_open:
                    break
                connection.close()
            else:
                connection = _Connection(self._url, self._context, self._server_name)
            self._used.add(connection)
            return connection

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            self._used.remove(connection)
            if connection.sock is not None and connection.is_done and not self._closed:
                connection.idle_since = monotonic()
                self._idle.append(connection)
                return
        connection.close()


class _Unary:
    """One method of a server."""

    def __init__(self, channel: HttpChannel, path: str, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]) -> None:
        self._channel = channel
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize

    def __call__(self, request: Any, timeout: float | None = None, metadata: calls.Pairs = None) -> Any:
        return self._call(self._serialize(request), timeout, metadata, _Flight())

    def future(self, request: Any, timeout: float | None = None, metadata: calls.Pairs = None) -> _Flight:
        """The same on a thread of its own."""
        flight, message = _Flight(), self._serialize(request)

        def carry_out() -> None:
            try:
                flight.set_result(self._call(message, timeout, metadata, flight))
            except BaseException as error:
                flight.set_exception(error)

        threading.Thread(target=carry_out, name="inferd-client", daemon=True).start()
        return flight

    def _call(self, message: bytes, timeout: float | None, metadata: calls.Pairs, flight: _Flight) -> Any:
        return self._deserialize(self._channel.call(self._path, message, timeout, metadata, flight))


class _Flight(Future[Any]):
    """A call under way. Cancelling it closes its connection, by which servers know."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.Lock()
        self._connection: _Connection | None = None
        self._given_up = False

    def begin(self, connection: _Connection) -> None:
        with self._own:
            if self._given_up:
                raise ConnectionAbortedError("the call was cancelled")
            self._connection = connection

    def end(self) -> None:
        with self._own:
            self._connection = None

    def cancel(self) -> bool:
        with self._own:
            self._given_up = True
            if self._connection is not None:
                self._connection.abort()
        return True


class _Connection(HTTPConnection):
    """One connection, for one exchange after the other. It gathers a request before it sends it, so that a small one is one packet."""

    def __init__(self, url: Url, context: ssl.SSLContext | None, server_name: str | None) -> None:
        super().__init__(url.host or "localhost", url.port)
        self._url = url
        self._context = context
        self._server_name = server_name
        self._unsent: list[Part] = []
        self._aborted = False
        self.idle_since = 0.0
        self.is_done = False  # the last exchange left it as it was

    def connect(self) -> None:
        if self._url.path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._url.socket_name)
        else:
            super().connect()
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_name or self.host)
        if self._aborted:
            raise ConnectionAbortedError("the client was closed")

    @property
    def is_open(self) -> bool:
        """Whether it may be used again: nothing has come meanwhile, and so no end, either."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """Ends what another thread is doing with it."""
        self._aborted = True
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def exchange(self, request: HttpRequest, until: float | None) -> HttpResponse:
        """Raises OSError (TimeoutError when the time is over) and HTTPException."""
        self.is_done = False
        self.putrequest(request.verb, self._url.prefix + request.target, skip_host=True, skip_accept_encoding=True)
        if all(name != "host" for name, _ in request.headers):
            self.putheader("host", self._url.authority)
        for name, value in request.headers:
            self.putheader(name, value)
        self.endheaders(request.parts)
        try:
            self._flush(until)
        except ConnectionError:  # the server may have said why it reads no more
            if self.sock is None:
                raise
            with suppress(HTTPException, OSError):
                return self._received(until)
            raise
        response = self._received(until)
        self.is_done = True
        return response

    def send(self, data: Any) -> None:
        self._unsent.append(data)

    def _flush(self, until: float | None) -> None:
        parts, self._unsent = self._unsent, []
        self.timeout = _left(until)
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_left(until))
        if sum(map(len, parts)) <= AT_ONCE_NBYTES:
            self.sock.sendall(b"".join(parts))
            return
        for part in (b"".join(parts[:2]), *parts[2:]):  # the head and the JSON, then tensors
            self.sock.settimeout(_left(until))
            self.sock.sendall(part)

    def _received(self, until: float | None) -> HttpResponse:
        self.sock.settimeout(_left(until))
        response = self.getresponse()
        length = response.length
        body = response.read() if length is None or length <= AT_ONCE_NBYTES else self._large(response, length, until)
        return rest.received(response.status, response.getheaders(), body)

    def _large(self, response: HTTPResponse, length: int, until: float | None) -> memoryview:
        body = view = np.empty(length, np.uint8).data  # a bytearray would be written twice
        while view:
            if self.sock is not None:  # it is None where this response is the connection's last
                self.sock.settimeout(_left(until))
            got = response.readinto(view[:PIECE_NBYTES])
            if not got:
                raise ConnectionResetError("the server closed the connection before the end of its response")
            view = view[got:]
        return body


def _left(until: float | None) -> float | None:
    """Seconds. Raises TimeoutError when there are none."""
    if until is None:
        return None
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
