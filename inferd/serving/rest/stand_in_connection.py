"""One client's connection to the stand-in: aiohttp's, with this server's limits, errors and drain.

aiohttp has no limit of the time and size of a head, and takes a client that closes its side for one that left.
Never in here: requests that are whole (stand_in.py).
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import Response as AiohttpResponse
from aiohttp.web_protocol import RequestHandler

from inferd.errors import DeadlineExceeded, Internal, InvalidArgument, RequestError, ResourceExhausted
from inferd.serving.rest.service import error_response

if TYPE_CHECKING:
    import asyncio

    from aiohttp.streams import StreamReader
    from aiohttp.web import BaseRequest, StreamResponse

    from inferd.part.resource import Headers

__all__ = ["Connection", "as_aiohttp", "header_size"]

log = logging.getLogger(__name__)

LEAST_LINE_NBYTES = 4  # of a header
TOGETHER_S = 0.1  # a close that follows a request so soon came with it
TOO_MANY = "Too many headers"  # as aiohttp says it


class Connection(RequestHandler):
    """head_limit_s: from the first byte of a head to its last. max_header_bytes: of one head."""

    __slots__ = (
        "_body",
        "_head_limit_s",
        "_head_nbytes",
        "_late",
        "_max_header_bytes",
        "_received_s",
        "has_ended",
        "is_checked",
        "rejection",
    )

    def __init__(self, *arguments: Any, head_limit_s: float, max_header_bytes: int, **options: Any) -> None:
        options |= {"max_line_size": max_header_bytes, "max_field_size": max_header_bytes}
        super().__init__(*arguments, max_headers=max_header_bytes // LEAST_LINE_NBYTES, **options)
        self.is_checked = False  # its client's certificate
        self.rejection: RequestError | None = None  # why that lets it ask nothing
        self.has_ended = False  # the client closed its side, and waits for responses
        self._head_limit_s, self._max_header_bytes = head_limit_s, max_header_bytes
        self._head_nbytes = 0  # of a head that is not whole
        self._late: asyncio.TimerHandle | None = None  # ends it
        self._body: StreamReader | None = None  # of the request that came last
        self._received_s = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether all that has come is answered."""
        return self._late is None and self._waits()

    @property
    def has_more(self) -> bool:
        """Whether whole heads wait behind the request that is being answered."""
        return bool(self._messages)

    def data_received(self, data: bytes) -> None:
        if self._close or self._force_close:
            return
        count, in_head = self._request_count, self._body is None or self._body.is_eof()
        self._received_s = self._loop.time()
        super().data_received(data)
        if self._request_count > count:
            self._body = self._messages[-1][1]
            self._forget_head()
        elif in_head and (self._late is not None or data.strip(b"\r\n")):  # an empty line in front begins none
            self._head_nbytes += len(data)
            if self._head_nbytes > self._max_header_bytes:
                self._end(header_size())
            elif self._late is None:
                self._late = self._loop.call_later(self._head_limit_s, self._end_late)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Keeps the connection for whole requests that came together with the close. TLS ends both sides at once."""
        is_whole = self._body is not None and self._body.is_eof() and self._late is None and not self._waits()
        came_together = self._loop.time() - self._received_s < TOGETHER_S
        self.has_ended = is_whole and came_together and self.ssl_context is None
        return self.has_ended

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> StreamResponse:
        """The response to a request that is no HTTP, or that met a fault of ours. It says nothing of aiohttp."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response has been sent")
        error: RequestError
        if status == 400 and (isinstance(exc, LineTooLong) or TOO_MANY in str(exc)):
            error = header_size()
        elif status == 400:
            error = InvalidArgument("request: expected HTTP/1.1, got something else", reason="http")
        else:
            log.error("a request failed", exc_info=exc)
            error = Internal("the server failed to make a response; its log has the details")
        response = as_aiohttp(*error_response(error))
        response.force_close()
        return response

    def _waits(self) -> bool:
        """Whether aiohttp waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    def _end_late(self) -> None:
        limit = f"{self._head_limit_s:g} s (stall_timeout_s)"
        self._end(DeadlineExceeded(f"expected the request's headers within {limit}, got a part of them; send it again", reason="stalled"))

    def _end(self, error: RequestError) -> None:
        """The connection ends with this response, or with that of an earlier request, which may not be there yet."""
        self._forget_head()
        if not self._waits() or self.transport is None:
            self.close()
            return
        status, headers, body = error_response(error)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(name + b": " + value for name, value in headers)]
        lines += [b"content-length: %d" % len(body), b"connection: close", b"", body]
        self.transport.write(b"\r\n".join(lines))
        self.force_close()

    def _forget_head(self) -> None:
        self._head_nbytes = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None


def header_size() -> ResourceExhausted:
    return ResourceExhausted("headers: expected at most max_header_bytes, got more; send fewer", reason="header_size")


def as_aiohttp(status: int, headers: Headers, body: bytes) -> AiohttpResponse:
    made = AiohttpResponse(status=status, body=body)
    made.headers.popall("Content-Type", None)
    for name, value in headers:
        made.headers.add(name.decode(), value.decode(errors="replace"))  # aiohttp sends UTF-8
    made.headers["Server"] = "inferd"  # and nothing of what it is made of
    return made
