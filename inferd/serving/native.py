"""The service table on inferd's own HTTP/2: asyncio connects sockets to `_core.http2`, which does the work.

ModelInfer goes from http2 straight to the service, with no task and no future. The other methods, cold, run as a task each.
Never in here: HTTP/2 frames, gRPC framing, what a method does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import deque
from contextlib import suppress
from socket import AF_UNIX
from typing import TYPE_CHECKING, cast

from inferd._core.grpc import message as messages
from inferd._core.http2.poller import Sockets
from inferd._core.http2.server_state import Endpoint
from inferd.config import Address
from inferd.descriptors import fitting, make_room, warn_of_few
from inferd.engine.planner import Host
from inferd.errors import RequestError, Unauthenticated
from inferd.serving.access import Access, Identity
from inferd.serving.budget import CONNECTION_BYTES, TLS_CONNECTION_BYTES, settled
from inferd.serving.cold_calls import ColdCalls
from inferd.serving.connection import Connection
from inferd.serving.listeners import ACCEPTED_AT_ONCE, LAST_S, Listener, adopt, close_empty
from inferd.serving.memory import give_back
from inferd.serving.message_threads import MessageThreads
from inferd.serving.ports import Port, Rejections, TlsPort
from inferd.serving.sockets import SocketFile, listening, not_listening, unix_socket
from inferd.serving.unserved import unserved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from socket import socket

    from inferd._core.grpc.call import Call
    from inferd._core.http2.stream import Http2Call
    from inferd.config import Settings
    from inferd.serving.method import Method
    from inferd.serving.tls import Tls

__all__ = ["NativeTransport"]

log = logging.getLogger(__name__)

NOTICE_S = 0.1  # between the first GOAWAY and the last: requests that are on their way arrive
STALL_CHECK_S = 1.0  # how often calls and connections are looked at that hold memory and do not move, and how old connections are
LOOKS = 250  # connections that are looked at in one iteration of the loop, fewer where that takes longer than a turn
TOLD = 64  # that are told of a drain in one
AGE_JITTER = 0.1  # clients that connected together do not leave together
DRAIN_CHECK_S = 0.1  # the same in a drain,
DRAIN_STALL_NS = 10**9  # which waits no longer than this for the rest of a request, or of a handshake,
DRAIN_UNREAD_NS = 5 * 10**9  # or than this for a client that does not read its response
NEVER_S = 7 * 86400.0
ENDED = 8  # connections that are gone, in one iteration of the loop,
END_NS = 200_000  # or fewer, in so long: thousands may be at one moment
DESCRIPTORS_LOG_S = 60.0  # between two warnings that no connection can be accepted for want of descriptors
GIVE_BACK_CONNECTIONS = 256  # closed by TLS, after which their memory is given back to the system: it takes some milliseconds
GIVE_BACK_MORE = 4  # times as many, where others still close
GIVE_BACK_WAVES = 1000, 10_000  # connections, calls that are open at one look, of which a quarter is left at another: so is theirs


class Wave:
    """A count that was `least` or more, and has fallen to a quarter of what it was."""

    def __init__(self, least: int) -> None:
        self._least, self._most = least, 0

    def is_over(self, count: int) -> bool:
        """Asked at each look. Once for each wave."""
        self._most = max(self._most, count)
        if self._most < self._least or count > self._most // 4:
            return False
        self._most = count
        return True


class Endings:
    """A count that grows, of what leaves memory behind when it ends."""

    def __init__(self, least: int) -> None:
        self._least, self._before, self._seen = least, 0, 0

    def are_many(self, count: int) -> bool:
        """Asked at each look. Whether `least` more have ended, and no others since the last look; or GIVE_BACK_MORE times as many: of these
        `least` are looked at again, with the end of them."""
        is_over, self._seen = count == self._seen, count
        if count - self._before < self._least * (1 if is_over else GIVE_BACK_MORE):
            return False
        self._before = count if is_over else count - self._least
        return True


class NativeTransport:
    """A gRPC server over a service table, on the running event loop.

    methods: full method name -> Method. settings: limits and socket options. reject(call, error): answers any exception
    that a method raised (see service.py). access: who may ask; by default as the settings say. tls: of the addresses that speak it.
    """

    fixed: frozenset[str] = frozenset()

    def __init__(
        self,
        methods: Mapping[str, Method],
        settings: Settings,
        reject: Callable[[Call, Exception], None],
        access: Access | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._access, self._tls = access or Access(settings), tls
        self._take_most(settings)
        self.connections: set[Connection] = set()
        self._rejected_connections = 0
        self._ends: deque[Callable[[], None]] = deque()  # what ends connections, by turns
        self._ends_scheduled = False
        self._cold_calls = ColdCalls(self.loop, reject)
        self._threads = MessageThreads(Host.detect(workers=settings.workers).usable)
        self.endpoint = Endpoint(
            methods,
            start=self._cold_calls.start,
            reject=reject,
            unserved=unserved,
            schedule=self.loop.call_soon,
            call_later=self.loop.call_later,
            in_thread=self._threads.submit,
            guard=self._guard if self._access.asks_for_tokens else None,
            compression=settings.compression,
            max_message_nbytes=settings.max_message_bytes,
            max_header_nbytes=settings.max_header_bytes,
            max_unread_nbytes=settings.max_unread_bytes,
            max_streams=settings.max_concurrent_streams,
            max_calls=settled(settings).max_total_streams,
            stream_window_nbytes=settings.stream_window_bytes,
            connection_window_nbytes=settings.connection_window_bytes,
            memory_percent=settings.connection_memory_percent,
            fair=settings.fair_queue,
            max_control_frame_rate=settings.max_control_frame_rate,
            max_reset_rate=settings.max_reset_rate,
            max_continuations=settings.max_continuation_frames,
            min_rate=settings.min_rate_bytes,
            min_message_rate=settings.min_message_rate_bytes,
            min_ping_interval_ns=settings.min_ping_interval_s * 10**9,
            keepalive_ns=settings.keepalive_s * 10**9,
            keepalive_timeout_ns=settings.keepalive_timeout_s * 10**9,
            max_idle_ns=settings.max_connection_idle_s * 10**9,
            age_grace_ns=settings.max_connection_age_grace_s * 10**9,
        )
        self.sockets = Sockets(self.endpoint)
        self.loop.add_reader(self.sockets, self.sockets.serve)
        self._max_age_ns = settings.max_connection_age_s * 10**9
        self.flush = self.endpoint.flush
        self.stalled_connections = 0
        self.connection_bytes = 0  # that open connections hold at most, beside their messages
        self._stall_timeout_ns = settings.stall_timeout_s * 10**9
        self._handshake_s = float(settings.handshake_timeout_s)
        self._messages_rejected = messages.rejected()
        self._pressed = False
        self._unlooked: deque[Connection] = deque()  # in the present round of looks at all
        self.draining = False  # each connection is told to leave,
        self.notice_s = NOTICE_S  # and so long after it for good
        self._stall_timer = self.loop.call_later(STALL_CHECK_S, self._look_for_stalls)
        self._descriptors_logged_s = float("-inf")
        self._endings = Endings(GIVE_BACK_CONNECTIONS)
        self._connection_wave, self._call_wave = map(Wave, GIVE_BACK_WAVES)
        self._reuse_port, self._socket_mode = settings.reuse_port, settings.socket_mode
        self._ports: list[Port] = []
        self._rejections = Rejections()

    async def start(self, addresses: list[Address]) -> list[Address]:
        """Listens on each address and serves. The real addresses in the same order: port 0 has become the one that was free."""
        warn_of_few(self._asked_connections)
        return [await self._listen(address) for address in addresses]

    async def adopt(self, opened: socket, tls: bool) -> Address:
        """Serves on a socket that listens already; its address. A Unix socket speaks no TLS."""
        listener = adopt(opened, tls)
        self._ports.append(self._port([listener], tls=listener.address.tls))
        return listener.address

    def take(self, opened: socket, tls: bool) -> None:
        """Serves a connection that another process accepted. A Unix socket speaks no TLS."""
        kind = TlsPort if tls and opened.family != AF_UNIX else Port
        port = next((port for port in self._ports if type(port) is kind), None)
        if port is None:
            port = self._port([], tls=kind is TlsPort)
            self._ports.append(port)
        port.take(opened)

    @property
    def open_connections(self) -> int:
        """Those that are made, and those that have come and are not made yet."""
        return len(self.connections) + self._unfinished()

    async def stop(self, timeout_s: float) -> None:
        """Takes who has connected, and nobody else, sends GOAWAY, gives the running calls `timeout_s` seconds, then cuts off who is left.
        Running is what is answered: for the rest of a request, or of a handshake, that does not move, nobody waits longer than
        DRAIN_STALL_NS, for a response that is not read no longer than DRAIN_UNREAD_NS."""
        self.draining, self.notice_s = True, min(NOTICE_S, timeout_s)
        self._tell_to_leave(list(self.connections))
        self._stall_timer.cancel()
        self._look_for_stalls()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._leave_listeners()
                while self.open_connections:
                    await asyncio.sleep(0.005)
        self._stall_timer.cancel()
        self._cut_off_all(timeout_s)
        await self._cold_calls.cancel()
        await self._threads.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while self.connections:  # those that were cut off
                    await asyncio.sleep(0)
        if self.sockets.fileno() >= 0:
            self.loop.remove_reader(self.sockets)
            self.sockets.close()

    def _tell_to_leave(self, connections: list[Connection]) -> None:
        for connection in connections[:TOLD]:
            connection.leave()
        if others := connections[TOLD:]:
            self.loop.call_soon(self._tell_to_leave, others)

    async def _leave_listeners(self) -> None:
        ports = {listener: port for port in self._ports for listener in port.release()}
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await close_empty(ports, lambda listener: ports[listener].accept(listener, ACCEPTED_AT_ONCE))

    def _cut_off_all(self, timeout_s: float) -> None:
        """At the end of a drain."""
        if calls := [connection.calls for connection in self.connections if connection.calls]:
            log.warning(
                "%d calls of %d connections were cut off: drain_timeout_s, %g s, is over; raise it where calls take longer",
                sum(calls),
                len(calls),
                timeout_s,
            )
        if untaken := sum(connection.is_closing and connection.unsent_nbytes() > 0 for connection in self.connections):
            log.warning(
                "%d connections were cut off whose clients had not taken all that was sent to them: drain_timeout_s, %g s, is over; "
                "raise it where clients read slowly",
                untaken,
                timeout_s,
            )
        for port in self._ports:
            port.cut_off()
        for connection in list(self.connections):
            connection.abort()

    def end_soon(self, end: Callable[[], None]) -> None:
        """Calls end() when it is its turn."""
        self._ends.append(end)
        if not self._ends_scheduled:
            self._ends_scheduled = True
            self.loop.call_soon(self._end_some)

    def _end_some(self) -> None:
        until_ns = time.monotonic_ns() + END_NS
        try:
            for _ in range(min(ENDED, len(self._ends))):
                self._ends.popleft()()
                if time.monotonic_ns() >= until_ns:
                    break
        finally:
            self._ends_scheduled = bool(self._ends)
            if self._ends_scheduled:
                self.loop.call_soon(self._end_some)

    def access_changed(self) -> None:
        """Tokens and names that were good may not be any more, of clients that are connected, too. What they have asked is answered."""
        self.endpoint.guard_changed()
        for connection in self.connections:
            connection.ask_who_it_is()

    def limit(self, settings: Settings) -> None:
        """Takes the limits of connections as they are now. Nobody is cut off for max_connections; an age is told to who comes then."""
        self._take_most(settings)
        self._max_age_ns = settings.max_connection_age_s * 10**9
        self.endpoint.set_terms(
            settings.min_ping_interval_s * 10**9,
            settings.keepalive_s * 10**9,
            settings.keepalive_timeout_s * 10**9,
            settings.max_connection_idle_s * 10**9,
            settings.max_connection_age_grace_s * 10**9,
        )

    def _take_most(self, settings: Settings) -> None:
        self._asked_connections = settled(settings).max_connections
        self._max_connections = fitting(self._asked_connections)
        make_room(self._max_connections)

    def age_ns(self) -> int:
        """At which the connection that is being made is told to leave; 0: never."""
        return int(self._max_age_ns * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER))

    def reject_protocol(self, transport: asyncio.Transport) -> None:
        """Of a client that did not ask for HTTP/2 in its handshake, which RFC 9113 wants: Python's ssl lets it in all the same."""
        self.count_rejected()
        self._rejections.tell(self.loop.time(), f"{transport.get_extra_info('peername')} did not offer h2 in its handshake (ALPN)")
        transport.get_extra_info("ssl_object").say_last()
        transport.abort()

    def rejection_of(self, identity: Identity | None) -> RequestError | None:
        """Why a client whose certificate names that, or that has none, may not ask anything; None: it may."""
        return self._access.check_identity(identity)

    def _guard(self, call: Http2Call, authorization: bytes | None) -> bool:
        """Whether a call's token is good for all calls of its connection. Raises Unauthenticated, and says so in the log."""
        try:
            return self._access.check_token(call.method, authorization)
        except Unauthenticated as rejection:
            self._access.tell_token(self.loop.time(), rejection, cast("Connection", call.output).peer)
            raise

    def tell(self, identity: Identity, rejection: RequestError | None, peer: object) -> None:
        """Says in the log who has connected by TLS, and whether it may ask."""
        self._access.tell(self.loop.time(), identity, rejection, peer)

    def counters(self) -> dict[str, float]:
        """What observe.metrics shows of a transport."""
        endpoint = self.endpoint
        return {
            "connections": len(self.connections),
            "connections_limit": self._max_connections,
            "connections_total": endpoint.connections_total,
            "connections_refused_total": self._rejected_connections,
            "handshakes": sum(port.unfinished for port in self._tls_ports),
            "handshakes_failed_total": sum(port.failed for port in self._tls_ports),
            "connections_stalled_total": self.stalled_connections,
            "connections_dead_total": endpoint.dead_total,
            "connections_flooding_total": endpoint.flooding_total,
            "connections_pinging_total": endpoint.pinging_total,
            "connections_resetting_total": endpoint.resetting_total,
            "connections_idle_total": endpoint.idle_total,
            "connections_retired_total": endpoint.retired_total,
            "connections_overdue_total": endpoint.overdue_total,
            "connection_bytes": self.connection_bytes,
            "held_bytes": endpoint.held_nbytes,
            "streams": endpoint.calls,
            "streams_total": endpoint.calls_total,
            "streams_abandoned_total": endpoint.abandoned_total,
            "streams_refused_total": endpoint.refused_total,
            "streams_stalled_total": endpoint.stalled_total,
            "protocol_errors_total": endpoint.protocol_errors_total,
            "received_bytes_total": endpoint.received_nbytes,
            "sent_bytes_total": endpoint.sent_nbytes,
            "message_threads_waiting": self._threads.unfinished,
            "decompressed_total": endpoint.decompressed_total,
            "decompressed_bytes_total": endpoint.decompressed_nbytes,
            "compressed_total": endpoint.compressed_total,
            "compression_saved_bytes_total": endpoint.saved_nbytes,
        }

    def _look_for_stalls(self) -> None:
        self._stall_timer = self.loop.call_later(DRAIN_CHECK_S if self.draining else STALL_CHECK_S, self._look_for_stalls)
        if not self._unlooked:  # else the last round goes on
            rejected = messages.rejected()
            self._pressed, self._messages_rejected = rejected != self._messages_rejected, rejected
            self._unlooked.extend(self.connections)
            self._look_on(time.monotonic_ns())
        if self.draining:
            for port in self._tls_ports:
                port.end_silent(DRAIN_STALL_NS / 1e9)
        else:
            self._check_descriptors()
            self._give_memory_back()

    def _look_on(self, now_ns: int) -> None:
        """Some in each of the loop's iterations, and no longer than a turn: 10,000 at once would hold it up for 8 ms, and calls that are
        ended for as long as there are any. A connection with more of those than one look ends has its next one behind the others."""
        until_ns = time.monotonic_ns() + self.endpoint.turn_ns
        looks = 0
        try:
            while self._unlooked and (looks == 0 or (looks < LOOKS and time.monotonic_ns() < until_ns)):
                looks += 1
                connection = self._unlooked.popleft()
                self._cut_off_stalled(now_ns, (connection,))
                if connection.ends_more:
                    self._unlooked.append(connection)
                    continue
                if not self.draining:
                    self._age(now_ns, (connection,))
                    connection.sleep_if_silent()
                connection.look_at_closing(self.draining, self.loop.time())
        finally:
            if self._unlooked:
                self.loop.call_soon(self._look_on, now_ns)

    def _cut_off_stalled(self, now_ns: int, connections: Iterable[Connection] | None = None) -> None:
        """Memory is not held forever for a client that does not move: a request that does not come whole, or a response that is
        not read, ends its call; a client that reads nothing of a connection, or stops within headers, loses the connection.
        Moving slower than min_rate_bytes, a large message than min_message_rate_bytes, on average over stall_timeout_s, is not moving;
        where messages found no room since the last look, over http2's PRESSED_NS."""
        request_limit_ns = answer_limit_ns = self._stall_timeout_ns
        if self.draining:
            request_limit_ns = min(DRAIN_STALL_NS, request_limit_ns)
            answer_limit_ns = min(DRAIN_UNREAD_NS, answer_limit_ns)
        for connection in list(self.connections) if connections is None else connections:
            taken_nbytes = connection.taken_nbytes() if connection.waiting_nbytes() else -1
            if connection.end_stalled(now_ns, taken_nbytes, request_limit_ns, answer_limit_ns, self._pressed):
                self.stalled_connections += 1
                connection.abort()

    def _age(self, now_ns: int, connections: Iterable[Connection] | None = None) -> None:
        """Silent clients are asked whether they are there, old and idle connections told to leave; who does not answer is cut off."""
        for connection in list(self.connections) if connections is None else connections:
            if connection.age(now_ns, connection.waiting_nbytes()):
                connection.abort()

    def _check_descriptors(self) -> None:
        """Says so, once in a while, when this process has no file descriptor left."""
        listeners = [each for port in self._ports for each in port.listeners]
        if not listeners or self.loop.time() - self._descriptors_logged_s < DESCRIPTORS_LOG_S:
            return
        try:
            os.close(os.dup(listeners[0].socket.fileno()))
        except OSError:
            self._descriptors_logged_s = self.loop.time()
            log.warning(
                "no file descriptor is left: new connections are closed at once until others have ended; %d are open; "
                "raise the limit on open files (ulimit -n), or lower max_connections",
                len(self.connections),
            )

    def _give_memory_back(self) -> None:
        """uvloop's TLS has a buffer of 256 KiB for each connection and touches little of it. The C library makes the buffers of later
        connections out of memory that earlier ones have touched, elsewhere each time: until all of it is. What a wave of connections or
        of calls had stays with it as well."""
        ended = self.endpoint.connections_total - len(self.connections) + sum(port.failed for port in self._tls_ports)
        were_many = self._tls is not None and self._endings.are_many(ended)
        was_wave = [self._connection_wave.is_over(len(self.connections)), self._call_wave.is_over(self.endpoint.calls)]
        if were_many or True in was_wave:
            give_back()

    async def _listen(self, address: Address) -> Address:
        try:
            return await self._open(address)
        except OSError as error:
            raise not_listening(address, error) from None

    async def _open(self, address: Address) -> Address:
        """The real address. OSError."""
        if address.path:
            listeners = [Listener(unix_socket(address, self._socket_mode), address, file=SocketFile.of(address))]
        else:
            opened = await listening(address, reuse_port=self._reuse_port)
            address = address._replace(port=opened[0].getsockname()[1])
            listeners = [Listener(each, address) for each in opened]
        self._ports.append(self._port(listeners, tls=address.tls))
        return address

    def _port(self, listeners: list[Listener], *, tls: bool) -> Port:
        if not tls:
            return Port(listeners, self._connection, self.is_full, self.count_rejected)
        assert self._tls is not None
        return TlsPort(
            listeners,
            self._tls.context,
            self._connection,
            self.is_full,
            self.count_rejected,
            self._rejections,
            self.sockets,
            handshake_s=self._handshake_s,
            shutdown_s=NEVER_S,  # a connection cuts itself off
        )

    def admit(self, connection: Connection, *, tls: bool) -> None:
        """It is made, and counts until `discard`."""
        self.connections.add(connection)
        connection.held_bytes = TLS_CONNECTION_BYTES if tls else CONNECTION_BYTES
        self.connection_bytes += connection.held_bytes

    def discard(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self.connection_bytes -= connection.held_bytes

    def is_full(self) -> bool:
        """Whether as many connections are open as may be, those among them that are not made yet, such as by a TLS handshake."""
        return self.open_connections >= self._max_connections

    def count_rejected(self) -> None:
        self._rejected_connections += 1

    def _unfinished(self) -> int:
        return sum(port.unfinished for port in self._ports)

    @property
    def _tls_ports(self) -> list[TlsPort]:
        return [port for port in self._ports if isinstance(port, TlsPort)]

    def _connection(self, made: Callable[[], None]) -> Connection:
        return Connection(self, made)
