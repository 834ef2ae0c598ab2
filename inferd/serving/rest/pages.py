"""Pages that this server makes of itself, for REST: /openapi.json, /docs and /metrics. Never in here: what stands in them, HTTP.

They are made on a thread, one at a time, because the event loop must not wait. Requests that wait for the same page share it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from inferd.errors import Internal, ResourceExhausted
from inferd.observe.scrape import SharedPages
from inferd.serving.rest.openapi import OpenApi
from inferd.serving.rest.page import HEADERS, page

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from wsgiref.types import StartResponse, WSGIApplication

    from inferd._core.http.head import Head
    from inferd.engine.repository import Repository

__all__ = ["Pages"]

MAX_UNLIKE = 16  # pages that wait to be made: clients choose by what they differ
RETRY_AFTER_NS = 10**9

Page = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]  # as service.Response


class Pages:
    """Lives on the event loop's thread. version: inferd's own."""

    def __init__(self, repository: Repository, version: str) -> None:
        self._metrics: WSGIApplication | None = None
        self._openapi = OpenApi(repository, version)
        self._thread: ThreadPoolExecutor | None = None
        self._asked: dict[Hashable, asyncio.Task[Page]] = {}  # pages that are not begun

    def serve_metrics(self, app: WSGIApplication) -> None:
        """app: see Exposition.wsgi_app. Without it, another process knows the metrics."""
        self._metrics = SharedPages(app)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def docs(self) -> Page:
        return 200, HEADERS, page()

    async def openapi(self) -> Page:
        return await self._made("openapi", lambda: (200, ((b"content-type", b"application/json"),), self._openapi.document()))

    async def metrics(self, head: Head) -> Page | None:
        """None: another process has them."""
        if self._metrics is None:
            return None
        app, accept, query = self._metrics, (head.accept or b"").decode("latin-1"), head.query.decode("latin-1")
        return await self._made((accept, query), lambda: _answered(app, accept, query))

    async def _made(self, key: Hashable, make: Callable[[], Page]) -> Page:
        if (page := self._asked.get(key)) is None:
            if len(self._asked) >= MAX_UNLIKE:
                raise ResourceExhausted(
                    f"{MAX_UNLIKE} pages wait to be made; ask again later", reason="pages", retry_after_ns=RETRY_AFTER_NS
                )
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "inferd-pages")
            self._asked[key] = page = asyncio.get_running_loop().create_task(self._on_thread(key, make))
        return await asyncio.shield(page)

    async def _on_thread(self, key: Hashable, make: Callable[[], Page]) -> Page:
        """A task begins when its page stands in the table: the thread may not take it out before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._make, key, make)

    def _make(self, key: Hashable, make: Callable[[], Page]) -> Page:
        """On the thread. A request that comes from now on gets another page."""
        self._asked.pop(key, None)
        return make()


def _answered(app: WSGIApplication, accept: str, query: str) -> Page:
    said: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "QUERY_STRING": query, "HTTP_ACCEPT": accept}
    body = b"".join(app(environ, cast("StartResponse", lambda status, headers, *_: said.extend((status, headers)))))
    if not said:
        raise Internal("the metrics had no response")
    headers = tuple((name.lower().encode(), value.encode()) for name, value in said[1] if name.lower() == "content-type")
    return int(said[0].split()[0]), headers, body
