"""Pages about this server: /, /docs, /openapi.json and /metrics. Never in here: their content, HTTP.

A thread makes /openapi.json and /metrics, one at a time, because the event loop must not wait. Requests that wait for the same page share
it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import inferd
from inferd.errors import Internal, NotFound, ResourceExhausted, Unimplemented
from inferd.observe.scrape import SharedPages
from inferd.part import Asked, Part, Resource, Response, operation
from inferd.part.resource import Verb
from inferd.serving.parts.pages.openapi import OpenApi
from inferd.serving.parts.pages.page import HEADERS, page

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from wsgiref.types import StartResponse, WSGIApplication

    from inferd.engine.models.repository import Repository
    from inferd.serving.parts.registry import Parts

MAX_UNLIKE = 16  # different pages that wait to be made: clients choose their headers and queries
RETRY_AFTER_NS = 10**9
HTML, JSON = b"text/html", ((b"content-type", b"application/json"),)


def make(parts: Parts) -> Part | None:
    if not parts.settings.serves_http:
        return None
    metrics = parts.metrics().wsgi_app() if parts.has_metrics else None
    return Pages(parts.repository, inferd.__version__, parts.resources, metrics)


class Pages(Part):
    """Lives on the event loop's thread. version: inferd's own. resources(): of all parts. metrics: see Exposition.wsgi_app; None: another
    process knows the metrics."""

    def __init__(
        self, repository: Repository, version: str, resources: Callable[[], Sequence[Resource]], metrics: WSGIApplication | None = None
    ) -> None:
        self._metrics = None if metrics is None else SharedPages(metrics)
        self._document = OpenApi(repository, version, resources)
        self._thread: ThreadPoolExecutor | None = None
        self._asked: dict[Hashable, asyncio.Task[Response]] = {}  # pages that the thread has not begun

    def resources(self) -> list[Resource]:
        metrics = operation.text("metrics", "The page of the metrics port.", "501")
        return [
            Resource("", {"GET": Verb(self._root)}),
            Resource("docs", {"GET": Verb(self._docs)}),
            Resource("openapi.json", {"GET": Verb(self._openapi)}),
            Resource("metrics", {"GET": Verb(self._scrape, metrics)}),
        ]

    async def stop(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _root(self, asked: Asked) -> Response:
        """Redirects a browser to the page, by a relative path for proxies. Tells other clients the paths."""
        if HTML in (asked.head.accept or b""):
            return Response(302, ((b"location", b"docs"), (b"vary", b"accept")), b"")
        raise NotFound("there is nothing at /: models are at /v2 (Open Inference Protocol), a page to try them at /docs in a browser")

    async def _docs(self, asked: Asked) -> Response:
        return Response(200, HEADERS, page())

    async def _openapi(self, asked: Asked) -> Response:
        return await self._made("openapi", lambda: Response(200, JSON, self._document.document()))

    async def _scrape(self, asked: Asked) -> Response:
        if (app := self._metrics) is None:
            raise Unimplemented("with several workers the metrics of all are on metrics_port; scrape that")
        accept, query = (asked.head.accept or b"").decode("latin-1"), asked.head.query.decode("latin-1")
        return await self._made((accept, query), lambda: _scraped(app, accept, query))

    async def _made(self, key: Hashable, make: Callable[[], Response]) -> Response:
        if (page := self._asked.get(key)) is None:
            if len(self._asked) >= MAX_UNLIKE:
                raise ResourceExhausted(
                    f"{MAX_UNLIKE} pages wait to be made; ask again later", reason="pages", retry_after_ns=RETRY_AFTER_NS
                )
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "inferd-pages")
            self._asked[key] = page = asyncio.get_running_loop().create_task(self._on_thread(key, make))
        return await asyncio.shield(page)

    async def _on_thread(self, key: Hashable, make: Callable[[], Response]) -> Response:
        """Makes a page on the thread. This is a task, so that it begins after its page is in the table, from which the thread takes it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._make, key, make)

    def _make(self, key: Hashable, make: Callable[[], Response]) -> Response:
        """Called on the thread. Later requests get a new page."""
        self._asked.pop(key, None)
        return make()


def _scraped(app: WSGIApplication, accept: str, query: str) -> Response:
    said: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "QUERY_STRING": query, "HTTP_ACCEPT": accept}
    body = b"".join(app(environ, cast("StartResponse", lambda status, headers, *_: said.extend((status, headers)))))
    if not said:
        raise Internal("the metrics had no response")
    headers = tuple((name.lower().encode(), value.encode()) for name, value in said[1] if name.lower() == "content-type")
    return Response(int(said[0].split()[0]), headers, body)
