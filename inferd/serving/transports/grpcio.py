"""The service table on grpc.aio: the oracle of the native transport.

The one importer of grpc in the server. Clear before fast: one generic entry looks the method up, four short functions
serve its four kinds. Never in here: what a method does, and protobuf beyond parsing a request and writing a response.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections import Counter
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, cast

# Else grpc writes its own lines for each failed handshake, whatever --log-format says. It reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

from inferd._core.grpc.call import NO_DEADLINE, routing_key, status_proto
from inferd._core.grpc.message import Message
from inferd.config import RELOADED
from inferd.errors import InvalidArgument, NotFound, RequestError, ResourceExhausted, StartError, Unavailable
from inferd.serving.listening.listeners import bind
from inferd.serving.listening.sockets import SocketFile, free_path, not_listening
from inferd.serving.memory.budget import settled
from inferd.serving.security.access import SEVERAL, UNREADABLE, Access, Identity
from inferd.serving.transports.awaited_call import AwaitedCall
from inferd.serving.transports.stream_infer import Held, in_flight
from inferd.serving.transports.unserved import unserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from inferd._core.grpc.call import Call, StreamHandler
    from inferd.config import Address, Settings
    from inferd.part.method import Method
    from inferd.serving.listening.listeners import Listener
    from inferd.serving.processes.systemd import Inherited
    from inferd.serving.security.tls import Certificates, Tls

    Rpc = grpc.aio.ServicerContext[Any, Any]  # one RPC as grpc.aio knows it

log = logging.getLogger(__name__)

MAX_TIMEOUT_S = 2.3e9  # 73 years; a longer timeout counts as none, and would not fit 64 bits of nanoseconds
NEVER_MS = 2**31 - 1  # gRPC's number for "never"
READ = 256  # decoded certificates that are cached: grpc passes one with each call
MAX_TOLD = 1024  # connections whose clients the log has named; the least recently used are forgotten, and named again
ENDED_TIMES = 2  # streams allowed for each that may be open: gRPC counts an ended one for a while, and would reset the next
DRAIN_STALL_S = 1.0  # a drain waits no longer than this for the next message of a stream
RETRY_AFTER_NS = 100_000_000  # about a batch of a slow model: memory is freed as responses are sent
COMPRESSION = {"none": None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class StreamedCall(AwaitedCall):
    """A request of a stream. hold(nbytes): called when the memory of it and its response changes by so much."""

    def __init__(self, method: str, message: Message, deadline_ns: int, hold: Callable[[int], None]) -> None:
        super().__init__(method, message, deadline_ns)
        self._hold, self._nbytes = hold, 0
        self._change(len(message))

    def reply(self, message: Message | bytes) -> None:
        if not self.settled:
            self._change(len(message))
        super().reply(message)

    def leave(self) -> None:
        """Called when its response was taken, or nobody waits for it any more."""
        self.cancel()
        self.outcome.cancel()
        self._change(-self._nbytes)

    def _change(self, nbytes: int) -> None:
        self._nbytes += nbytes
        self._hold(nbytes)


class GrpcioTransport(grpc.GenericRpcHandler):
    """A gRPC server over a service table. Made, started and stopped on one event loop.

    methods: full method name -> Method. reject(call, error): fails a call whose method raised (see service.py).
    settings: the limits and socket options. access: which clients may call. tls: for the addresses that speak it. grpc.aio cannot count
    connections, so max_connections bounds the open RPCs of all clients here. grpc itself limits windows and unread responses.
    """

    fixed = frozenset(name for name in RELOADED if "connection" in name or "keepalive" in name or "ping" in name)

    def __init__(
        self,
        methods: Mapping[str, Method],
        settings: Settings,
        reject: Callable[[Call, Exception], None],
        access: Access | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._methods = methods
        self._behaviours = {name: self._behaviour(name, method) for name, method in methods.items()}
        self._reject = reject
        self._access, self._tls = access or Access(settings), tls
        self._told: dict[tuple[str, Identity, bool], None] = {}  # peer, identity, and whether it may call; the latest comes last
        self._files: list[SocketFile] = []  # grpc removes them, except when the process ends at once
        self._taken: list[tuple[Address, list[Listener]]] = []  # addresses that grpc does not have yet, and sockets that reserve them
        self._open = 0
        self._opened = 0
        self._held_bytes = 0
        self._draining = False
        self._awaiting: set[asyncio.Timeout] = set()  # timeouts of streams that wait for their next message
        self._streams: Counter[tuple[str, str]] = Counter()  # open streams of methods with a limit for each connection, by peer
        fitted = settled(settings)
        self._max_held_bytes = fitted.message_memory_bytes
        self._settings = settings
        self._server = grpc.aio.server(
            handlers=(self,),
            maximum_concurrent_rpcs=fitted.max_connections,
            compression=COMPRESSION[settings.compression],
            options=(
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.max_concurrent_streams", ENDED_TIMES * settings.max_concurrent_streams),
                # Above the first, gRPC rejects some requests, above the second all. Equal, they are one limit.
                ("grpc.max_metadata_size", settings.max_header_bytes),
                ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
                ("grpc.so_reuseport", int(settings.reuse_port)),
                ("grpc.server_handshake_timeout_ms", settings.handshake_timeout_s * 1000),
                *_lifetime(settings),
            ),
        )

    def bind(self, addresses: Sequence[Address]) -> list[Address]:
        """Reserves each port, so that one in use is known before models are loaded. grpc would listen at once, so it gets ports and paths
        only in `start`. Returns the real addresses in the same order: port 0 has become a free port."""
        for address in addresses:
            held = [] if address.path else bind(address, self._settings)
            self._taken.append((held[0].address if held else address, held))
        return [address for address, _ in self._taken[-len(addresses) :]] if addresses else []

    async def start(self, addresses: Sequence[Address] = ()) -> list[Address]:
        """Serves on these addresses and on those of earlier calls of `bind`. Returns the real ones of `addresses`."""
        real = self.bind(addresses)
        for address, held in self._taken:
            self._bind(address)
            for listener in held:
                listener.close()
        self._taken = []
        await self._server.start()
        return real

    async def adopt(self, given: Inherited, tls: bool) -> Address:
        raise StartError("sockets that were opened for this process (LISTEN_FDS) need --transport native: grpc opens its own")

    def take(self, opened: socket.socket, tls: bool, http: bool = False) -> None:
        raise StartError("connections that another process accepted need --transport native")

    @property
    def open_connections(self) -> int:
        """grpc.aio does not count them."""
        return 0

    async def stop(self, timeout_s: float) -> None:
        """Takes no new connection or request, waits up to `timeout_s` seconds for the running ones, then cancels them. Waits up to
        DRAIN_STALL_S for the next message of a stream."""
        loop = asyncio.get_running_loop()
        self._draining = True
        for _, held in self._taken:
            for listener in held:
                listener.close()
        for awaiting in self._awaiting:
            awaiting.reschedule(loop.time() + DRAIN_STALL_S)
        telling = loop.call_later(timeout_s, self._tell_cut_off, timeout_s)
        await self._server.stop(timeout_s)
        telling.cancel()
        for file in self._files:
            file.remove()

    def _tell_cut_off(self, timeout_s: float) -> None:
        if self._open:
            log.warning("%d calls were cut off: drain_timeout_s, %g s, is over; raise it where calls take longer", self._open, timeout_s)

    def limit(self, settings: Settings) -> None:
        """Does nothing: grpc keeps the limits with which it was started."""

    def access_changed(self) -> None:
        """Does nothing: each call is checked anew."""

    def flush(self) -> None:
        """grpc sends a response when its coroutine returns: there is nothing to gather."""

    def counters(self) -> dict[str, float]:
        """The values that parts/connections.py shows. grpc.aio does not count its connections."""
        return {"streams": self._open, "streams_opened_total": self._opened, "request_bytes": self._held_bytes}

    def _bind(self, address: Address) -> Address:
        try:
            with free_path(address):  # grpc would take away any socket's file
                if address.tls:
                    assert self._tls is not None
                    port = self._server.add_secure_port(address.for_grpc, _credentials(self._tls))
                else:
                    port = self._server.add_insecure_port(address.for_grpc)
                if address.path and not address.is_abstract and self._settings.socket_mode >= 0:
                    os.chmod(address.path, self._settings.socket_mode)
                if address.path and (file := SocketFile.of(address)) is not None:
                    self._files.append(file)
        except OSError as error:
            raise not_listening(address, error) from None
        except RuntimeError:  # grpc's text is a dump of its internals: it goes nowhere
            for listener in bind(address, self._settings):  # raises an error that says why
                listener.close()
            raise StartError(f"cannot listen on {address}: expected a free address of this machine; try again, or choose another") from None
        return address if address.path else address._replace(port=port)

    def service(self, call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """grpc asks this for the behaviour of every call."""
        name = call_details.method
        return self._behaviours.get(name) or grpc.stream_stream_rpc_method_handler(self._unserved(name))

    def _behaviour(self, name: str, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        match method.kind:
            case "infer":
                return grpc.unary_unary_rpc_method_handler(self._infer(name, method))
            case "unary":
                return grpc.unary_unary_rpc_method_handler(self._unary(name, method))
            case "stream":
                return grpc.stream_stream_rpc_method_handler(self._stream(name, method))
            case "infer_stream":
                return grpc.stream_stream_rpc_method_handler(self._infer_stream(name, method))

    # The kinds of methods. Each returns the coroutine function that grpc.aio runs for one RPC, bytes in, bytes out.

    def _infer(self, name: str, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def serve(message: bytes, rpc: Rpc) -> bytes:
            async with self._call(name, message, rpc) as call:
                self._check_memory()
                method.handler(call)
                return await call.response()

        return serve

    def _unary(self, name: str, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def serve(message: bytes, rpc: Rpc) -> bytes:
            async with self._call(name, message, rpc):
                response: bytes = (await method.handler(method.parse(name, message))).SerializeToString()
                return response

        return serve

    # A stream's coroutine writes by itself, and is no async generator. When a client goes away, grpc frees the call before it closes a
    # generator, and reading the call's messages then would end the process.

    def _stream(self, name: str, method: Method) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
        async def requests(messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            while (message := await self._next(messages)) is not None:
                yield method.parse(name, message)

        async def serve(messages: AsyncIterator[bytes], rpc: Rpc) -> None:
            async with self._call(name, b"", rpc):
                with self._one_more(name, method, rpc):
                    async with aclosing(method.handler(requests(messages))) as responses:
                        async for response in responses:
                            await rpc.write(response.SerializeToString())

        return serve

    def _infer_stream(self, name: str, method: Method) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
        async def serve(messages: AsyncIterator[bytes], rpc: Rpc) -> None:
            handler = cast("StreamHandler", method.handler)
            errors_end = ("triton_grpc_error", "true") in (rpc.invocation_metadata() or ())
            held = Held(self._settings.max_stream_requests)
            async with self._call(name, b"", rpc) as stream:

                def hold(nbytes: int) -> None:
                    self._held_bytes += nbytes
                    held.change(0, nbytes)

                def begin(message: bytes) -> StreamedCall:
                    call = StreamedCall(name, Message.wrap(message), stream.deadline_ns, hold)
                    call.traceparent, call.key = stream.traceparent, stream.key
                    held.change(1, 0)
                    try:
                        self._check_memory()
                        handler(call)
                    except Exception as error:
                        self._reject(call, error)
                    return call

                def leave(call: StreamedCall) -> None:
                    call.leave()
                    held.change(-1, 0)

                async def next_message() -> bytes | None:
                    message = await self._next(messages)
                    self._check_access(name, rpc)  # a client may have lost its permission since the stream began
                    if message is not None and self._draining:
                        raise _stopping()
                    return message

                async with aclosing(in_flight(next_message, begin, leave, held)) as calls:
                    async for call in calls:
                        try:
                            response = handler.wrap(Message(await call.response()))
                        except RequestError as error:
                            if errors_end and not isinstance(error, (InvalidArgument, NotFound)):
                                raise
                            response = handler.rejection(call.message, error)
                        await rpc.write(bytes(response))

        return serve

    async def _next(self, messages: AsyncIterator[bytes]) -> bytes | None:
        """A stream's next message; None: there are no more."""
        try:
            async with asyncio.timeout(DRAIN_STALL_S if self._draining else None) as awaiting:
                self._awaiting.add(awaiting)
                try:
                    return await anext(messages, None)
                finally:
                    self._awaiting.discard(awaiting)
        except TimeoutError:
            raise _stopping() from None

    def _unserved(self, name: str) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
        """Fails at once, without waiting for a message: the client may expect any kind of method."""

        async def serve(_messages: AsyncIterator[bytes], rpc: Rpc) -> None:
            async with self._call(name, b"", rpc):
                raise unserved(name)

        return serve

    @asynccontextmanager
    async def _call(self, name: str, message: bytes, rpc: Rpc) -> AsyncIterator[AwaitedCall]:
        """Surrounds every RPC: counts it, ends it with a status when it fails, cancels it when its client goes away."""
        call = AwaitedCall(name, Message.wrap(message), _deadline_ns(rpc))
        traceparents, keys = _metadata(rpc, "traceparent"), _metadata(rpc, "inferd-key")
        call.traceparent = traceparents[0] if len(traceparents) == 1 else None
        call.key = routing_key(keys[-1]) if keys else 0
        self._opened += 1
        self._open += 1
        self._held_bytes += len(message)
        try:
            self._check_access(name, rpc)
            yield call
        except grpc.aio.InternalError:  # grpc could not write: the client went away, and grpc is about to tell
            raise asyncio.CancelledError from None
        except Exception as error:
            if not call.settled:  # raised by the method, not told through the call
                self._reject(call, error)
            await _abort(rpc, call.outcome.result())
        finally:
            call.cancel()  # does nothing after a response; else the client went away, or its deadline passed
            self._open -= 1
            self._held_bytes -= len(message)

    @contextmanager
    def _one_more(self, name: str, method: Method, rpc: Rpc) -> Iterator[None]:
        """Counts an open stream of the method on its connection. grpc names connections for TCP alone."""
        peer = rpc.peer()
        if not method.max_open or peer.startswith("unix"):
            yield
            return
        method.check_open(name, self._streams[peer, name])
        self._streams[peer, name] += 1
        try:
            yield
        finally:
            self._streams[peer, name] -= 1
            if not self._streams[peer, name]:
                del self._streams[peer, name]

    def _check_access(self, name: str, rpc: Rpc) -> None:
        if rpc.auth_context().get("transport_security_type") == [b"ssl"]:
            self._check_identity(rpc)
        if self._access.asks_for_tokens:
            headers = _metadata(rpc, "authorization")
            try:
                authorization = SEVERAL.join(headers) if headers else None
                self._access.check_token(name, authorization)
                if name in self._methods and self._methods[name].changes:
                    self._access.check_change(authorization)
            except RequestError as rejection:
                self._access.tell_token(asyncio.get_running_loop().time(), rejection, rpc.peer())
                raise

    def _check_identity(self, rpc: Rpc) -> None:
        """Checks the client's certificate. grpc.aio has no hook for new connections, so the log names the client at its first call."""
        identity = _identity(rpc)
        rejection = self._access.check_identity(identity)
        if identity is not None:
            client = rpc.peer(), identity, rejection is None
            if client not in self._told:
                self._access.tell(asyncio.get_running_loop().time(), identity, rejection, client[0])
            self._told.pop(client, None)
            self._told[client] = None
            if len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]
        if rejection is not None:
            raise rejection

    def _check_memory(self) -> None:
        if self._held_bytes > self._max_held_bytes:
            raise ResourceExhausted(
                f"the requests in this server fill message_memory_bytes, {self._max_held_bytes}; come back when some have their responses",
                reason="memory",
                retry_after_ns=RETRY_AFTER_NS,
            )


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Credentials that use the newest certificates at each handshake."""
    given = tls.certificates

    def made(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(certificates.key, certificates.chain)], certificates.client_ca)

    def newest() -> Any:
        nonlocal given
        if tls.certificates is given:
            return None  # nothing new; grpc's annotation lacks None
        given = tls.certificates
        return made(given)

    return grpc.dynamic_ssl_server_credentials(made(given), newest, require_client_authentication=given.client_ca is not None)


def _identity(rpc: Rpc) -> Identity | None:
    """The names in the client's certificate; None: it has no certificate. grpc's own list cuts each name at its first NUL."""
    said = rpc.auth_context()
    if not any(kind.startswith(("x509", "peer")) for kind in said):
        return None
    return _identity_of(b"".join(said.get("x509_pem_cert", ())))


@lru_cache(READ)
def _identity_of(pem: bytes) -> Identity:
    from inferd.serving.security.certificate import identity_of

    return identity_of(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))) if pem else Identity("", (), UNREADABLE)


def _lifetime(settings: Settings) -> list[tuple[str, int]]:
    """Options for the age, idle time and keepalive of connections."""
    return [
        ("grpc.keepalive_time_ms", settings.keepalive_s * 1000 or NEVER_MS),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_s * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", settings.min_ping_interval_s * 1000),
        ("grpc.max_connection_idle_ms", min(settings.max_connection_idle_s * 1000 or NEVER_MS, NEVER_MS)),
        ("grpc.max_connection_age_ms", min(settings.max_connection_age_s * 1000 or NEVER_MS, NEVER_MS)),
        ("grpc.max_connection_age_grace_ms", min(settings.max_connection_age_grace_s * 1000 or NEVER_MS, NEVER_MS)),
    ]


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping, and the rest of the request did not come; send it to another replica", reason="stalled")


def _deadline_ns(rpc: Rpc) -> int:
    remaining_s = cast("float | None", rpc.time_remaining())  # its annotation lacks None, for a call without a deadline
    if remaining_s is None or remaining_s > MAX_TIMEOUT_S:
        return NO_DEADLINE
    return time.monotonic_ns() + int(remaining_s * 1e9)


def _metadata(rpc: Rpc, name: str) -> list[bytes]:
    """The values of the headers of this name."""
    return [value.encode() if isinstance(value, str) else value for key, value in rpc.invocation_metadata() or () if key == name]


async def _abort(rpc: Rpc, error: Any) -> NoReturn:
    """Ends the RPC with the status of a RequestError."""
    details = status_proto(error)
    trailers = (("grpc-status-details-bin", details),) if details else ()
    await rpc.abort(STATUS_CODES[error.code], str(error), trailers)
    raise AssertionError("abort returned")
