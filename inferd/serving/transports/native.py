"""The service table on inferd's own HTTP/2 and HTTP/1.1: `_core.net` serves the sockets, in turns on the event loop.

ModelInfer, ModelStreamInfer and the inferences of REST go straight to the service, with no task and no future. The other methods, cold,
run as a task each.
Never in here: HTTP, gRPC framing, what a method does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import chain
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, cast

from inferd._core.http.handler import HttpService
from inferd._core.http1.session import Http1Session
from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.session import Session
from inferd._core.net.poller import Poller
from inferd._core.net.stream_socket import StreamSocket
from inferd._core.net.tls import Tls as TlsLayer
from inferd.engine.loading.planner import Host
from inferd.errors import RequestError
from inferd.serving.listening.listeners import ACCEPTED_AT_ONCE, LAST_S, Listener, adopt, bind, close_empty
from inferd.serving.listening.ports import Port
from inferd.serving.memory.budget import CONNECTION_BYTES, TLS_CONNECTION_BYTES, settled
from inferd.serving.memory.trimming import give_back
from inferd.serving.messages.message_threads import MessageThreads
from inferd.serving.security.access import Access, Rejections
from inferd.serving.security.tls import plain
from inferd.serving.transports.client import Client, peer, shakes_hands
from inferd.serving.transports.cold_calls import ColdCalls
from inferd.serving.transports.unserved import unserved
from inferd.system.descriptors import fitting, make_room, warn_of_few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from socket import socket

    from inferd._core.grpc.call import Call
    from inferd._core.http.handler import HttpHandler
    from inferd._core.http2.stream import Http2Call
    from inferd.config import Address, Settings
    from inferd.part.method import Method
    from inferd.serving.processes.systemd import Inherited
    from inferd.serving.rest.service import RestService
    from inferd.serving.security.tls import Tls

log = logging.getLogger(__name__)

LOOK_S = 1.0  # the time between two looks at each connection: does it stall, how old is it, does its close linger for too long
LOOK_NS = 200_000  # how long looks may take in one iteration of the loop
AGE_JITTER = 0.1  # clients that connected together do not leave together
ENDED = ("dead", "flooding", "pinging", "resetting", "idle", "retired", "overdue")  # why connections ended, as Http2State counts them
# In a drain:
DRAIN_LOOK_S = 0.1  # the time between two looks at each connection
DRAIN_STALL_NS = 10**9  # how long the server waits for the rest of a request, or of a handshake
DRAIN_UNREAD_NS = 5 * 10**9  # how long it waits for a client that does not read its response
GIVE_BACK_WAVES = 1000, 10_000  # connections, calls: give memory back when a count that reached this falls to a quarter


class Wave:
    """Watches a count: a wave is over when it has reached `least` and then fallen to a quarter of its peak."""

    def __init__(self, least: int) -> None:
        self._least, self._most = least, 0

    def update(self, count: int) -> bool:
        """Called with the count at each look. True once for each wave, when it is over."""
        self._most = max(self._most, count)
        if self._most < self._least or count > self._most // 4:
            return False
        self._most = count
        return True


class NativeTransport:
    """A server of gRPC over a service table, and of REST, on the running event loop.

    methods: full method name -> Method. settings: limits and socket options. reject(call, error): fails a call whose method raised
    (see service.py). access: which clients may call; None: as the settings say. tls: for the addresses that speak it. rest: the service of
    REST, and the handler of its inferences; None: REST is not served here.
    """

    fixed: frozenset[str] = frozenset()

    def __init__(
        self,
        methods: Mapping[str, Method],
        settings: Settings,
        reject: Callable[[Call, Exception], None],
        access: Access | None = None,
        tls: Tls | None = None,
        rest: tuple[RestService, HttpHandler] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.access, self._tls = access or Access(settings), tls
        self._methods = methods
        self.connections: set[StreamSocket] = set()
        self._rejected_connections = self._handshakes_failed = 0
        self._cold_calls = ColdCalls(self.loop, reject, None if rest is None else rest[0])
        self._threads = MessageThreads(Host.detect(workers=settings.workers).usable)
        self.server = Http2State(
            methods,
            start=self._cold_calls.start,
            reject=reject,
            unserved=unserved,
            schedule=self.loop.call_soon,
            call_later=self.loop.call_later,
            run_on_thread=self._threads.run_on_thread,
            authenticator=self._authenticate if self.access.asks_for_tokens else None,
            compression=settings.compression,
            http_handler=None if rest is None else HttpService(rest[1], self._cold_calls.start_rest, rest[0].screen, rest[0].admit),
            **_limits(settings),
        )
        self.poller = Poller(self.loop.call_soon)
        self.loop.add_reader(self.poller, self.poller.serve)
        self.limit(settings)
        self.flush = self.server.flush
        self.stalled_connections = 0
        self.connection_bytes = 0  # the most that open connections hold beside their messages
        self._stall_timeout_ns = settings.stall_timeout_s * 10**9
        self._handshake_s = float(settings.handshake_timeout_s)
        self._unlooked: deque[StreamSocket] = deque()  # connections that are left in the present round of looks
        self._look_timer = self.loop.call_later(LOOK_S, self._look)
        self._connection_wave, self._call_wave = map(Wave, GIVE_BACK_WAVES)
        self._settings = settings
        self._bound: list[list[Listener]] = []  # by address; they listen once `start` is called
        self._ports: list[Port] = []
        self._rejections = Rejections()

    def bind(self, addresses: Sequence[Address]) -> list[Address]:
        """Binds each address, so that one in use is known before models are loaded. Returns the real addresses in the same order: port 0
        has become a free port."""
        self._bound += (made := [bind(address, self._settings) for address in addresses])
        return [listeners[0].address for listeners in made]

    async def start(self, addresses: Sequence[Address] = ()) -> list[Address]:
        """Listens and serves on these addresses and on those of earlier calls of `bind`. Returns the real ones of `addresses`."""
        warn_of_few(self._asked_connections)
        real = self.bind(addresses)
        for listener in chain.from_iterable(self._bound):
            listener.listen()
        self._ports += [self._port(listeners, listeners[0].address) for listeners in self._bound]
        self._bound = []
        return real

    async def adopt(self, given: Inherited, tls: bool) -> Address:
        """Serves on a socket that listens already, and returns its address. A Unix socket speaks no TLS."""
        listener = adopt(given, tls)
        self._ports.append(self._port([listener], listener.address))
        return listener.address

    def take(self, client: socket, tls: bool, http: bool = False) -> None:
        """Serves a connection that a port or another process accepted, or closes it if there is no room. A Unix socket speaks no TLS.
        http: it came to a port of REST."""
        try:
            if self.open_connections < self._max_connections:
                self._serve(client, self._tls if tls and client.family != AF_UNIX else None, http=http)
                return
        except OSError:  # the kernel has no memory for it
            pass
        client.close()
        self._count_rejected()

    @property
    def open_connections(self) -> int:
        """Connections that hold a socket, also in a TLS handshake, or in a lingering close."""
        return len(self.connections) + len(self.server.lingering)

    async def stop(self, timeout_s: float) -> None:
        """Drains all connections, those in the backlog, too, and accepts no others. Running calls have `timeout_s` seconds; then the server
        aborts all that is left. Stalled clients have less time: DRAIN_STALL_NS, DRAIN_UNREAD_NS."""
        self.server.stopping = True
        self.server.set_keepalive(0, 0, 0, 0, 0)
        self._look_timer.cancel()
        self._unlooked.clear()
        self._look()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._leave_listeners()
                while self.open_connections:
                    await asyncio.sleep(0.005)
        self._look_timer.cancel()
        self._abort_all(timeout_s)
        await self._cold_calls.cancel()
        await self._threads.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while self.connections:  # their next turns free them
                    await asyncio.sleep(0)
        if self.poller.fileno() >= 0:
            self.loop.remove_reader(self.poller)
            self.poller.close()

    async def _leave_listeners(self) -> None:
        for listener in chain.from_iterable(self._bound):
            listener.close()
        ports = {listener: port for port in self._ports for listener in port.release()}
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await close_empty(ports, lambda listener: ports[listener].accept(listener, ACCEPTED_AT_ONCE))

    def _abort_all(self, timeout_s: float) -> None:
        """The end of a drain."""
        if calls := [connection.calls for connection in self.connections if connection.calls]:
            log.warning(
                "%d calls of %d connections were cut off: drain_timeout_s, %g s, is over; raise it where calls take longer",
                sum(calls),
                len(calls),
                timeout_s,
            )
        without_calls = [connection for connection in self.connections if not connection.calls]
        if unsent := sum(one.unsent_nbytes > 0 for one in (*without_calls, *self.server.lingering)):
            log.warning(
                "%d connections were cut off whose clients had not taken all that was sent to them: drain_timeout_s, %g s, is over; "
                "raise it where clients read slowly",
                unsent,
                timeout_s,
            )
        for port in self._ports:
            port.close()
        for closing in list(self.server.lingering):
            closing.abort()
        for connection in list(self.connections):
            connection.abort()

    def access_changed(self) -> None:
        """Tokens and names may have become invalid, also those of connected clients. Calls that have begun go on."""
        self.server.credentials_changed()
        for connection in self.connections:
            connection.client.check_identity(connection)

    def limit(self, settings: Settings) -> None:
        """Takes new limits of connections. max_connections ends no open connection; a new age is for new connections."""
        self._max_age_ns = settings.max_connection_age_s * 10**9
        pings_s = settings.min_ping_interval_s, settings.keepalive_s, settings.keepalive_timeout_s
        ends_s = settings.max_connection_idle_s, settings.max_connection_age_grace_s
        self.server.set_keepalive(*(seconds * 10**9 for seconds in (*pings_s, *ends_s)))
        self._asked_connections = settled(settings).max_connections
        self._max_connections = fitting(self._asked_connections)
        make_room(self._max_connections)

    def age_ns(self) -> int:
        """The age at which a new connection drains; 0: never."""
        return int(self._max_age_ns * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER))

    def tls_failed(self, connection: StreamSocket, error: Exception | str) -> None:
        """Called when a client's handshake has failed, or was not for HTTP/2."""
        self._handshakes_failed += 1
        if isinstance(error, str):
            self._rejections.tell(self.loop.time(), error)
        elif not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):  # it closed, as many probes do
            log.debug("a client's TLS handshake failed: %s", error)
        else:
            self._rejections.tell(self.loop.time(), f"the TLS handshake of {peer(connection)} failed: {plain(error)}")

    def _authenticate(self, call: Http2Call, authorization: bytes | None) -> bool:
        """Whether a call's token is good for all inferences of its connection. Logs and raises a rejection."""
        try:
            is_good = self.access.check_token(call.method, authorization)
            if call.method in self._methods and self._methods[call.method].changes:
                self.access.check_change(authorization)
            return is_good
        except RequestError as rejection:
            self.access.tell_token(self.loop.time(), rejection, peer(cast("StreamSocket", call.connection)))
            raise

    def counters(self) -> dict[str, float]:
        """The counters that parts/connections.py shows."""
        server = self.server
        totals = server.totals
        return {
            "connections": self.open_connections,
            "connections_limit": self._max_connections,
            "connections_opened_total": totals["connections"],
            "connections_refused_total": self._rejected_connections,
            "handshakes": sum(map(shakes_hands, list(self.connections))),
            "handshakes_failed_total": self._handshakes_failed,
            "connections_stalled_total": self.stalled_connections,
            **{f"connections_{name}_total": totals[name] for name in ENDED},
            "connection_bytes": self.connection_bytes,
            "streams": server.calls,
            "streams_opened_total": totals["calls"],
            **{f"streams_{name}_total": totals[name] for name in ("abandoned", "refused", "stalled")},
            "protocol_errors_total": totals["protocol_errors"],
            "received_bytes_total": totals["received_nbytes"],
            "sent_bytes_total": totals["sent_nbytes"],
            "message_threads_waiting": self._threads.unfinished,
            "decompressed_messages_total": totals["decompressed"],
            "decompressed_bytes_total": totals["decompressed_nbytes"],
            "compressed_messages_total": totals["compressed"],
            "compression_saved_bytes_total": totals["saved_nbytes"],
        }

    def _look(self) -> None:
        """Begins a round of looks at all connections, unless the last one still goes on."""
        draining = self.server.stopping
        self._look_timer = self.loop.call_later(DRAIN_LOOK_S if draining else LOOK_S, self._look)
        if not self._unlooked:
            self._unlooked.extend(self.connections)
            self._look_on(time.monotonic_ns())
        now_ns = time.monotonic_ns()
        for closing in list(self.server.lingering):
            closing.look(now_ns)
        waves_over = [self._connection_wave.update(len(self.connections)), self._call_wave.update(self.server.calls)]  # both must look
        if not draining and any(waves_over):
            give_back()

    def _look_on(self, now_ns: int) -> None:
        """Looks at some connections in each iteration of the loop, for LOOK_NS: 10,000 looks at once would hold it up for 8 ms."""
        until_ns = time.monotonic_ns() + LOOK_NS
        try:
            while self._unlooked:
                self._look_at(self._unlooked.popleft(), now_ns)
                if time.monotonic_ns() >= until_ns:
                    break
        finally:
            if self._unlooked:
                self.loop.call_soon(self._look_on, now_ns)

    def _look_at(self, connection: StreamSocket, now_ns: int) -> None:
        """Ends calls and connections whose clients do not move, so that they hold no memory forever. A request that does not come, or a
        response that the client does not read, ends its call. A client that reads nothing at all, or stops within headers or a handshake,
        loses the connection. A client does not move if, over stall_timeout_s, it is slower than min_rate_bytes; or than
        min_message_rate_bytes while a large request comes. In a drain, the connection drains, too."""
        if self.server.stopping:
            connection.drain()
        if shakes_hands(connection) and self.loop.time() - connection.client.made_s >= self._handshake_s:
            connection.client.failed(connection, TimeoutError("it is too late"))
            connection.abort()
            return
        request_limit_ns = response_limit_ns = self._stall_timeout_ns
        if self.server.stopping:
            request_limit_ns = min(DRAIN_STALL_NS, request_limit_ns)
            response_limit_ns = min(DRAIN_UNREAD_NS, response_limit_ns)
        acknowledged_nbytes = connection.acknowledged_nbytes() if connection.unsent_nbytes else -1
        if connection.end_late_calls(now_ns, acknowledged_nbytes, request_limit_ns, response_limit_ns):
            self.stalled_connections += 1
            connection.abort()
        elif connection.take_keepalive_step(now_ns, connection.unsent_nbytes):
            connection.abort()

    def _port(self, listeners: list[Listener], address: Address) -> Port:
        assert self._tls is not None or not address.tls
        return Port(listeners, partial(self.take, tls=address.tls, http=address.http), self._count_rejected)

    def _serve(self, client: socket, tls: Tls | None, *, http: bool) -> None:
        """Raises OSError."""
        client.setblocking(False)
        if client.family != AF_UNIX:
            client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # a small response waits for no acknowledgement of the one before
        connection = self._make(client, tls, http=http)
        try:
            connection.start(self.poller)
        except BaseException:
            connection.abort()
            raise
        self.connections.add(connection)
        self.connection_bytes += connection.client.held_bytes
        if self.server.stopping:
            connection.drain()

    def _make(self, client: socket, tls: Tls | None, *, http: bool) -> StreamSocket:
        protocol = Http1Session(self.server) if http else Session(self.server)
        layer = None if tls is None else TlsLayer(partial(tls.wrap, http=http))
        held_bytes = CONNECTION_BYTES if tls is None else TLS_CONNECTION_BYTES
        return StreamSocket(self.server, protocol, client, layer, Client(self, http=http, held_bytes=held_bytes))

    def discard(self, connection: StreamSocket) -> None:
        """Called when a connection has ended."""
        if connection in self.connections:
            self.connections.discard(connection)
            self.connection_bytes -= connection.client.held_bytes

    def _count_rejected(self) -> None:
        self._rejected_connections += 1


def _limits(settings: Settings) -> dict[str, int]:
    """Http2State's limits, as the settings say."""
    return {
        "max_message_nbytes": settings.max_message_bytes,
        "max_header_nbytes": settings.max_header_bytes,
        "max_unread_nbytes": settings.max_unread_bytes,
        "max_streams": settings.max_concurrent_streams,
        "max_stream_requests": settings.max_stream_requests,
        "max_calls": settled(settings).max_total_streams,
        "stream_window_nbytes": settings.stream_window_bytes,
        "connection_window_nbytes": settings.connection_window_bytes,
        "memory_percent": settings.connection_memory_percent,
        "fair": settings.fair_queue,
        "max_control_frame_rate": settings.max_control_frame_rate,
        "max_reset_rate": settings.max_reset_rate,
        "max_continuations": settings.max_continuation_frames,
        "min_rate": settings.min_rate_bytes,
        "min_message_rate": settings.min_message_rate_bytes,
    }
