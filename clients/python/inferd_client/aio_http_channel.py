"""A channel over HTTP/1.1 for asyncio, by aiohttp: it takes and returns serialized messages, as gRPC's do.

Never in here: the REST form (rest.py, rest_infer.py), retries.
"""

# ruff: noqa: ASYNC109  # timeouts are gRPC's here

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

import aiohttp
from grpc import ChannelConnectivity
from multidict import CIMultiDict
from yarl import URL

from inferd_client import calls, rest
from inferd_client.errors import InferenceError
from inferd_client.http_channel import AT_ONCE_NBYTES, IDLE_S
from inferd_client.rest import HttpRequest, HttpResponse, Part
from inferd_client.rest_infer import infer_message, infer_request
from inferd_client.urls import Url

__all__ = ["AsyncHttpChannel"]

MOST_CONNECTIONS = 100  # at one time; further calls wait for one
NONE_OF_ITS_OWN = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AsyncHttpChannel:
    """To one address, on the event loop that is running when it is made."""

    def __init__(self, url: Url, context: ssl.SSLContext | None, server_name: str | None, compression: str | None) -> None:
        self._url = url
        self._base = f"http{'s' if url.tls else ''}://{url.authority}{url.prefix}"
        self._server_name = server_name
        self._compression = compression
        self._binary: bool | None = None  # whether the server takes tensors as bytes; None: not asked yet
        self._session = aiohttp.ClientSession(
            connector=_connector(url, context),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none: the call's own counts
            skip_auto_headers=NONE_OF_ITS_OWN,
            auto_decompress=False,
            read_bufsize=1 << 18,
        )

    def unary_unary(self, path: str) -> Callable[..., Coroutine[Any, Any, bytes]]:
        """A method of the server, as grpc.aio.Channel has them."""

        async def call(message: bytes, timeout: float | None = None, metadata: calls.Pairs = None) -> bytes:
            return await self._call(path, message, timeout, metadata)

        return call

    def get_state(self, *, try_to_connect: bool) -> ChannelConnectivity:
        """It has none: a connection is made when a call needs one."""
        return ChannelConnectivity.READY

    async def close(self) -> None:
        """Calls that are under way, and later ones, end with CANCELLED."""
        await self._session.close()

    async def _call(self, path: str, message: bytes, timeout: float | None, metadata: calls.Pairs) -> bytes:
        until = None if timeout is None else monotonic() + timeout
        if path != calls.MODEL_INFER:
            return rest.message_of(path, await self._exchange(rest.request_of(path, message), until, metadata))
        if self._binary is None:
            self._binary = rest.takes_binary(await self._exchange(rest.SERVER_METADATA, until, metadata))
        return infer_message(await self._exchange(infer_request(message, binary=self._binary), until, metadata))

    async def _exchange(self, request: HttpRequest, until: float | None, metadata: calls.Pairs) -> HttpResponse:
        left = None if until is None else until - monotonic()
        request = rest.with_headers(request, metadata, left, self._compression)
        limit = asyncio.timeout(left)
        try:
            async with limit:
                return await self._received(request)
        except TimeoutError as error:
            if not limit.expired():  # of the system
                raise rest.unreachable(self._url, error) from error
            raise rest.late(self._url) from error
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            if self._session.closed:
                raise calls.closed() from None
            if isinstance(error, RuntimeError):
                raise
            raise self._failure(error) from error

    async def _received(self, request: HttpRequest) -> HttpResponse:
        async with self._session.request(
            request.verb,
            URL(self._base + request.target, encoded=True),
            headers=CIMultiDict(request.headers),
            data=_body(request.parts),
            allow_redirects=False,
            server_hostname=self._server_name,
        ) as response:
            return rest.received(response.status, response.headers.items(), await response.read())

    def _failure(self, error: Exception) -> InferenceError:
        for inner in (getattr(error, "certificate_error", None), getattr(error, "os_error", None)):
            if isinstance(inner, OSError):
                return rest.unreachable(self._url, inner)
        return rest.unreachable(self._url, error)


def _connector(url: Url, context: ssl.SSLContext | None) -> aiohttp.BaseConnector:
    if url.path:
        return aiohttp.UnixConnector(url.socket_name, limit=MOST_CONNECTIONS, keepalive_timeout=IDLE_S)
    return aiohttp.TCPConnector(ssl=context or True, limit=MOST_CONNECTIONS, keepalive_timeout=IDLE_S)


def _body(parts: Sequence[Part]) -> bytes | AsyncIterator[Part] | None:
    if not parts:
        return None
    return b"".join(parts) if sum(map(len, parts)) <= AT_ONCE_NBYTES else _in_parts(parts)


async def _in_parts(parts: Sequence[Part]) -> AsyncIterator[Part]:
    for part in parts:
        yield part
