"""REST on aiohttp: for builds without llhttp or yyjson, and beside the grpcio transport. Clear before fast.

aiohttp is imported here and in stand_in_connection.py alone. A request is read whole; an inference becomes a Call of its own, and takes
ModelInfer's way.
Never in here: which paths there are (service.py), JSON (plain.py), what a method does.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import ssl
from contextlib import suppress
from functools import partial
from itertools import chain
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, Any, Self, cast

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.web import BaseRequest, Server, StreamResponse

from inferd._core.grpc.call import NO_DEADLINE
from inferd._core.grpc.compression import Compression, Decompression
from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.http.response import decompression_error
from inferd._core.tensor.tensor import DATATYPES
from inferd.descriptors import fitting
from inferd.errors import DeadlineExceeded, InvalidArgument, RequestError, ResourceExhausted, Unimplemented
from inferd.part import Response
from inferd.protocol import inference
from inferd.serving.awaited_call import AwaitedCall
from inferd.serving.budget import settled
from inferd.serving.cold_calls import remaining_s
from inferd.serving.listeners import ACCEPTED_AT_ONCE, LAST_S, Listener, adopt, bind, close_empty
from inferd.serving.ports import Port
from inferd.serving.rest.plain import Wanted, body_of, read_nbytes, request_of
from inferd.serving.rest.raw_body import is_raw, tensors_of
from inferd.serving.rest.service import error_response
from inferd.serving.rest.stand_in_connection import Connection, as_aiohttp, header_size

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.web import Response as AiohttpResponse

    from inferd._core.grpc.call import Call
    from inferd.config import Address, Settings
    from inferd.engine.model import Model
    from inferd.part.resource import Headers
    from inferd.serving.access import Access
    from inferd.serving.rest.service import RestService
    from inferd.serving.systemd import Inherited
    from inferd.serving.tls import Tls

__all__ = ["StandIn"]

log = logging.getLogger(__name__)

HOST = re.compile(r"""[^\0- \x7f-\U0010ffff/?#@,\\"<>]*""")  # and a port
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
KEEPALIVE_S = 75  # as nginx: an idle connection, or one whose next head does not come
FIRST_REQUEST_S = 0.05  # in a drain, for requests of connections that were accepted last
LONG_NBYTES = 16 << 10  # of a body that a thread reads or writes
LEAST_COMPRESSED_NBYTES = 1 << 10
RETRY_AFTER_NS = 100_000_000  # about a batch of a slow model: memory comes back as requests are answered


class _Context(ssl.SSLContext):
    """A context for asyncio, in which Tls makes each connection."""

    tls: Tls

    @classmethod
    def of(cls, tls: Tls) -> Self:
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made.tls = tls
        return made

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *_: Any, **__: Any) -> ssl.SSLObject:
        return self.tls.wrap(incoming, outgoing, http=True)


class StandIn:
    """An HTTP/1.1 server on the running event loop. infer(call): ModelInfer. model(name, version): finds one, and loads it first if it
    is on demand. reject(call, error): answers a call whose method raised (see service.py). access: the clients that may ask. tls: for
    the addresses that speak it."""

    def __init__(
        self,
        rest: RestService,
        infer: Callable[[Call], None],
        model: Callable[[str, str], Awaitable[Model]],
        settings: Settings,
        reject: Callable[[Call, Exception], None],
        access: Access,
        tls: Tls | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rest, self._infer, self._model, self._reject, self._access = rest, infer, model, reject, access
        self._tls = None if tls is None else _Context.of(tls)
        self._settings = settings
        self.max_held_nbytes = settled(settings).message_memory_bytes
        self._held_nbytes = 0
        self._open = self._opened = self._connected = self._rejected_connections = self._handshakes_failed = 0
        self._draining = False
        self._server = Server(cast("Any", self._handle), handler_cancellation=True)
        self._connection = partial(
            Connection,
            self._server,
            loop=self._loop,
            keepalive_timeout=min(KEEPALIVE_S, settings.max_connection_idle_s or KEEPALIVE_S),
            tcp_keepalive=False,
            access_log=cast("Any", None),
            logger=log,
            head_limit_s=settings.stall_timeout_s,
            max_header_bytes=settings.max_header_bytes,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._bound: list[list[Listener]] = []
        self._ports: list[Port] = []
        self._starting: set[asyncio.Task[None]] = set()
        self.limit(settings)

    # ---- life ----

    def bind(self, addresses: Sequence[Address]) -> list[Address]:
        """Takes each address. The real ones in the same order: port 0 has become the one that was free."""
        self._bound += (made := [bind(address, self._settings) for address in addresses])
        return [listeners[0].address for listeners in made]

    def adopt(self, given: Inherited, tls: bool) -> Address:
        """Takes a socket that listens already, and returns its address."""
        self._bound.append([listener := adopt(given, tls)])
        return listener.address

    def start(self) -> None:
        for listener in chain.from_iterable(self._bound):
            if listener.ours:
                listener.listen()
        self._ports += [
            Port(listeners, partial(self.take, tls=listeners[0].address.tls), self._count_rejected) for listeners in self._bound
        ]
        self._bound = []

    def take(self, client: socket.socket, tls: bool) -> None:
        """Serves a connection that a port or another process accepted, or closes it if there is no room."""
        if self.open_connections >= self._max_connections:
            client.close()
            self._count_rejected()
            return
        client.setblocking(False)
        is_local = client.family == AF_UNIX
        if not is_local:
            with suppress(OSError):
                client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        task = self._loop.create_task(self._serve(client, tls and not is_local))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _serve(self, client: socket.socket, tls: bool) -> None:
        """Until the TLS handshake is made, if there is one."""
        options: dict[str, Any] = {"ssl": self._tls, "ssl_handshake_timeout": self._settings.handshake_timeout_s} if tls else {}
        try:
            await self._loop.connect_accepted_socket(self._connection, client, **options)
        except OSError as error:  # also of a handshake that fails, or takes too long
            log.debug("a client's TLS handshake failed: %s", error)
            client.close()
            self._handshakes_failed += 1
            return
        self._connected += 1

    @property
    def open_connections(self) -> int:
        return len(self._server.connections) + len(self._starting)

    async def stop(self, timeout_s: float) -> None:
        """Answers what has come, then closes all connections, within `timeout_s`."""
        self._draining = True
        for listener in chain.from_iterable(self._bound):
            listener.close()
        ports = {listener: port for port in self._ports for listener in port.release()}
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_S):
                        await close_empty(ports, lambda listener: ports[listener].accept(listener, ACCEPTED_AT_ONCE))
                while self._starting:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(FIRST_REQUEST_S)
                while connections := cast("list[Connection]", self._server.connections):
                    for connection in connections:
                        if connection.is_idle:
                            connection.force_close()
                    await asyncio.sleep(0.005)
        if self._open:
            log.warning(
                "%d REST requests were cut off: drain_timeout_s, %g s, is over; raise it where they take longer", self._open, timeout_s
            )
        for port in self._ports:
            port.close()
        for task in self._starting:
            task.cancel()
        await self._server.shutdown(0.1)

    def limit(self, settings: Settings) -> None:
        self._max_connections = fitting(settled(settings).max_connections)

    def access_changed(self) -> None:
        """Names may have become invalid, also those of connected clients."""
        for connection in self._server.connections:
            cast("Connection", connection).is_checked = False

    def counters(self) -> dict[str, float]:
        """The counters that observe.metrics shows, to be added to those of gRPC."""
        return {
            "connections": self.open_connections,
            "connections_total": self._connected,
            "connections_refused_total": self._rejected_connections,
            "handshakes_failed_total": self._handshakes_failed,
            "streams": self._open,
            "streams_total": self._opened,
            "request_bytes": self._held_nbytes,
        }

    def _count_rejected(self) -> None:
        self._rejected_connections += 1

    # ---- requests ----

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        self._open += 1
        self._opened += 1
        held = _Held(self)
        head: Head | None = None
        try:
            try:
                if sum(map(len, chain.from_iterable(request.raw_headers))) > self._settings.max_header_bytes:
                    raise header_size()
                head = Head.of(request.method, _target(request), request.raw_headers)
                answer = await self._answer(request, head, held)
            except Exception as error:
                answer = error_response(self._rejection(request, error))
            response = as_aiohttp(*answer) if head is None else await self._compressed(head, *answer)
            connection = cast("Connection", request.protocol)
            is_last = (self._draining or connection.has_ended) and not connection.has_more
            if is_last or head is None or "Upgrade" in request.headers:  # aiohttp loses what comes with an upgrade; a wrong head ends all
                response.force_close()
            async with asyncio.timeout(self._slowest_s(response.content_length or 0)):
                await response.prepare(request)
                await response.write_eof()
            return response
        except TimeoutError:  # the client does not read
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None
        finally:
            self._open -= 1
            held.release()

    def _rejection(self, request: BaseRequest, error: Exception) -> RequestError:
        """The error that the client gets. The service counts it, and logs what is not for clients."""
        call = AwaitedCall(request.rel_url.raw_path, Message(), NO_DEADLINE)
        call.traceparent = request.headers.get("traceparent", "").encode(errors="replace")
        self._reject(call, error)
        told = call.outcome.result()
        assert isinstance(told, RequestError)
        return told

    async def _answer(self, request: BaseRequest, head: Head, held: _Held) -> Response:
        self._check_identity(cast("Connection", request.protocol))
        call = AwaitedCall(head.path.decode("ascii"), Message(), head.deadline_ns)
        self._rest.screen(call, head)
        if head.verb_name != b"OPTIONS":
            self._check_token(request, call.method, head.authorization)
        self._rest.admit(call, head)
        body = await self._read(request, head, held)
        if head.is_infer:
            return await self._inferred(head, body, held)
        try:
            async with asyncio.timeout(remaining_s(call)):
                return await self._rest.respond(head, body)
        except TimeoutError:
            raise DeadlineExceeded(f"{call.method}: the deadline passed before the response was ready") from None

    async def _inferred(self, head: Head, body: bytes, held: _Held) -> Response:
        message, wanted = await self._decoded(head, body, held)
        call = AwaitedCall(MODEL_INFER, Message.wrap(message.SerializeToString()), head.deadline_ns)
        call.traceparent, call.key = head.traceparent, head.key
        try:
            self._infer(call)
            answer = await call.answer()
        finally:
            call.cancel()  # nothing to an answered call; else the client went away
        encode = partial(body_of, inference.ModelInferResponse.FromString(answer), wanted)
        content, json_nbytes = await asyncio.to_thread(encode) if len(answer) > LONG_NBYTES else encode()
        if not json_nbytes:
            return Response(200, ((b"content-type", b"application/json"),), content)
        length = b"%d" % json_nbytes
        return Response(200, ((b"content-type", b"application/octet-stream"), (b"inference-header-content-length", length)), content)

    async def _decoded(self, head: Head, body: bytes, held: _Held) -> tuple[inference.ModelInferRequest, Wanted]:
        """As RestInfer decodes it, files and records included."""
        name, version = head.model_name.decode(), head.model_version.decode()
        if head.json_nbytes == 0:
            return _row_of_bytes(await self._model(name, version), head, body), Wanted(True, {})
        if is_raw(head, body) and (message := await self._raw(head, body)) is not None:
            return message, Wanted(False, {})
        count = partial(read_nbytes, body, head.json_nbytes)
        nbytes = await asyncio.to_thread(count) if len(body) > LONG_NBYTES else count()
        held.add_json(nbytes)
        decode = partial(request_of, body, head.json_nbytes, name, version)
        try:
            return await asyncio.to_thread(decode) if len(body) > LONG_NBYTES else decode()
        except InvalidArgument as error:
            if error.reason != "no_inputs" or (message := await self._raw(head, body)) is None:
                raise
            return message, Wanted(False, {})
        finally:
            held.add(-nbytes)

    async def _raw(self, head: Head, body: bytes) -> inference.ModelInferRequest | None:
        """The request that a file, a text or a record makes; None: the model takes none."""
        model = await self._model(head.model_name.decode(), head.model_version.decode())
        read = partial(_raw_request, model, head, body)
        return await asyncio.to_thread(read) if len(body) > LONG_NBYTES else read()

    def _check_identity(self, connection: Connection) -> None:
        session = connection.transport.get_extra_info("ssl_object") if connection.transport is not None else None
        if session is not None and not connection.is_checked:
            from inferd.serving.certificate import identity_of

            der = session.getpeercert(True)
            identity = None if der is None else identity_of(der)
            connection.rejection, connection.is_checked = self._access.check_identity(identity), True
            if identity is not None:
                self._access.tell(self._loop.time(), identity, connection.rejection, connection.peername)
        if connection.rejection is not None:
            raise connection.rejection

    def _check_token(self, request: BaseRequest, path: str, authorization: bytes | None) -> None:
        if not self._access.asks_for_tokens:
            return
        try:
            self._access.check_token(path, authorization)
        except RequestError as rejection:
            self._access.tell_token(self._loop.time(), rejection, request.remote)
            raise

    async def _read(self, request: BaseRequest, head: Head, held: _Held) -> bytes:
        """The body, decompressed. It must come at min_message_rate_bytes, and fit the memory of all messages."""
        most = self._settings.max_message_bytes if head.max_body_nbytes < 0 else head.max_body_nbytes
        if head.content_nbytes > most:
            raise _too_large(most, f"{head.content_nbytes} bytes")
        if head.expects_continue and not request.content.is_eof():
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cast("Any", request.writer).output_size = 0  # the response is still to come
        body = bytearray()
        try:
            begun_s = self._loop.time()
            async with asyncio.timeout(self._slowest_s(0)) as limit:
                async for piece in request.content.iter_any():
                    body += piece
                    held.add(len(piece))
                    if len(body) > most:
                        raise _too_large(most, "more")
                    limit.reschedule(begun_s + self._slowest_s(len(body)))
        except TimeoutError:
            raise DeadlineExceeded(
                "the rest of the request did not come in time (stall_timeout_s, min_message_rate_bytes); send it again", reason="stalled"
            ) from None
        coding = head.content_coding_name
        if coding == "identity":
            return bytes(body)
        work = Decompression(Message(body), coding, most)
        await asyncio.to_thread(work.run)
        if work.error is not None:
            raise decompression_error(work.error, coding)
        assert work.result is not None
        held.add(len(work.result))
        return bytes(work.result)

    async def _compressed(self, head: Head, status: int, headers: Headers, body: bytes) -> AiohttpResponse:
        headers += head.response_headers or ()
        if head.request_id is not None:
            headers += ((b"x-request-id", head.request_id),)
        coding = head.accept_coding_name
        if self._settings.compression != "none" and coding != "identity" and len(body) >= LEAST_COMPRESSED_NBYTES:
            work = Compression(Message.wrap(body), coding)
            await asyncio.to_thread(work.run)
            if work.result is not None:
                headers += ((b"content-encoding", coding.encode()), (b"vary", b"accept-encoding"))
                body = bytes(work.result)
        return as_aiohttp(status, headers, body)

    def _slowest_s(self, nbytes: int) -> float:
        return self._settings.stall_timeout_s + nbytes / self._settings.min_message_rate_bytes

    def hold(self, nbytes: int) -> None:
        """The bytes that all requests hold have changed by so many. Raises ResourceExhausted."""
        self._held_nbytes += nbytes
        if nbytes > 0 and self._held_nbytes > self.max_held_nbytes:
            raise ResourceExhausted(
                f"the requests in this server fill message_memory_bytes, {self.max_held_nbytes}; come back when some are answered",
                reason="memory",
                retry_after_ns=RETRY_AFTER_NS,
            )


class _Held:
    """The memory of one request's body."""

    def __init__(self, server: StandIn) -> None:
        self._server, self._nbytes = server, 0

    def add(self, nbytes: int) -> None:
        self._nbytes += nbytes
        self._server.hold(nbytes)

    def add_json(self, nbytes: int) -> None:
        """For a moment, to read JSON."""
        if self._nbytes + nbytes > self._server.max_held_nbytes:  # to come back would never help
            raise ResourceExhausted(
                f"body: to read this JSON takes up to {nbytes} bytes of memory for a moment, more than message_memory_bytes, "
                f"{self._server.max_held_nbytes}, has room for; send binary data (binary_data_size), or split the request",
                reason="message_size",
            )
        self.add(nbytes)

    def release(self) -> None:
        self._server.hold(-self._nbytes)


def _raw_request(model: Model, head: Head, body: bytes) -> inference.ModelInferRequest | None:
    tensors = tensors_of(model, head, body)
    if tensors is None:
        return None
    message = inference.ModelInferRequest(model_name=head.model_name.decode(), model_version=head.model_version.decode())
    for name, datatype, shape, values in tensors:
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        parts = (part for value in values for part in (memoryview(value).nbytes.to_bytes(4, "little"), value))
        message.raw_input_contents.append(b"".join(parts))
    return message


def _row_of_bytes(model: Model, head: Head, body: bytes) -> inference.ModelInferRequest:
    """One row of the model's only input, as it is. See request_of_body in _core/rest/raw.pyx."""
    specs = model.signature.input_specs
    said = f"model {model.name!r}: a body of raw bytes (Inference-Header-Content-Length: 0) is for models of one input"
    if len(specs) != 1:
        raise InvalidArgument(f"{said}, this one has {len(specs)}; send the lengths of tensors as JSON in front of them")
    name, datatype, shape = specs[0]
    row = [1 if axis == 0 and model.signature.max_batch_size > 0 else size for axis, size in enumerate(shape)]
    open_axes = [axis for axis, size in enumerate(row) if size < 0]
    if datatype == "BYTES":
        row, body = [abs(size) for size in row], len(body).to_bytes(4, "little") + body
    elif len(open_axes) > 1:
        raise InvalidArgument(f"{said} without several axes of any size; send its shape as JSON in front of them")
    elif open_axes:
        row_nbytes = math.prod(max(size, 1) for size in row) * DATATYPES[datatype][1]
        row[open_axes[0]] = len(body) // row_nbytes
    message = inference.ModelInferRequest(model_name=head.model_name.decode(), model_version=head.model_version.decode())
    message.inputs.add(name=name, datatype=datatype, shape=row)
    message.raw_input_contents.append(body)
    return message


def _too_large(most: int, got: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"body: expected at most {most} bytes (max_message_bytes), got {got}; split the request into smaller ones, or have the server's "
        "limit raised",
        reason="message_size",
    )


def _target(request: BaseRequest) -> str:
    """Path and query of a request. Raises RequestError for a head that another server could read in another way, and aiohttp takes."""
    if request.version not in (HttpVersion10, HttpVersion11):
        raise InvalidArgument("request line: expected METHOD /path HTTP/1.1, got something else", reason="http_version")
    codings = request.headers.getall("transfer-encoding", [])
    if [coding.lower() for coding in codings] not in ([], ["chunked"]):
        raise Unimplemented(
            "header Transfer-Encoding: expected 'chunked', got something else; send chunks, or a body with Content-Length", reason="framing"
        )
    host = request.headers.get("host", "")
    if not HOST.fullmatch(host):
        raise InvalidArgument("header Host: expected a host and perhaps a port, got something else", reason="header")
    target = request.raw_path
    if not target.startswith(("http://", "https://")):
        return target
    authority, _, path = target.partition("://")[2].partition("/")
    if authority.lower() != host.lower():
        raise InvalidArgument(
            "request target: expected the same host as in the header Host, got another; send the path alone", reason="target"
        )
    return f"/{path}"
