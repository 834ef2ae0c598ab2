"""Files of a web server as a Source, and the HTTP client that registry.py shares. Python's own client: it takes proxies and certificates
from the environment, and a query that is a signature stays in our hands.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from inferd.config import without_secrets
from inferd.engine.remote.location import ARCHIVES
from inferd.engine.remote.source import Changed, Item, NoRanges, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inferd.engine.remote.location import Location

__all__ = ["WebSource", "ask", "content"]

TIMEOUT_S = 30  # in which something must come
CHUNK_BYTES = 1 << 18


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to web servers only, and never from TLS to plain text."""

    def redirect_request(self, request: Any, *rest: Any) -> Any:
        target = rest[-1].lower()
        if not target.startswith(("http://", "https://")) or (request.full_url.startswith("https:") and target.startswith("http:")):
            raise SourceError(f"the server redirects to '{without_secrets(rest[-1])}', which is not followed")
        return super().redirect_request(request, *rest)


def ask(url: str, headers: Mapping[str, str], authorization: str = "") -> Any:
    """The response to a GET; the caller closes it. authorization: for this server alone, not for one that it redirects to. Raises
    SourceError; HTTPError for 401, which registry.py takes further."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "inferd", **headers})
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise
        error.close()
        if error.code == 416:
            raise Changed("a file is shorter than it was when it was listed") from None
        if error.code == 403:
            raise SourceError("the server does not let these credentials read it (403)") from None
        raise SourceError(f"the server answered {error.code} {error.reason}", again=error.code == 429 or error.code >= 500) from None
    except ssl.SSLCertVerificationError as error:
        raise SourceError(f"the server's certificate is not trusted: {error.verify_message}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise SourceError(f"the server's certificate is not trusted: {error.reason.verify_message}") from None
        why = getattr(error.reason, "strerror", None) or str(error.reason)
        raise SourceError(f"the server cannot be reached: {without_secrets(why)}", again=True) from None
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(without_secrets(str(error)) or type(error).__name__, again=True) from None
    except ValueError as error:  # a URL with blanks in it
        raise SourceError(without_secrets(str(error))) from None


def content(response: Any) -> Iterator[bytes]:
    """The body, until it ends or the connection is cut. Closes the response."""
    with response:
        try:
            while piece := response.read(CHUNK_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(without_secrets(str(error)) or type(error).__name__, again=True) from None


def part(response: Any, first: int, last: int) -> Iterator[bytes]:
    """The body of a response to a request for these bytes."""
    if response.status != 206 and first > 0:
        response.close()
        raise NoRanges("the server sends whole files only")
    left = last - first
    for piece in content(response):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


class WebSource:
    """One file: an .onnx file, or an archive of a model's folder. Web servers list no folders."""

    ranges = True

    def __init__(self, location: Location) -> None:
        parts = urlsplit(location.url)
        user, at, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        name, _, password = user.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}" if at else ""
        self._name = location.leaf
        self.archive: str | None = "" if parts.path.endswith(ARCHIVES) else None
        if self.archive is None and not location.leaf.endswith(".onnx"):
            raise SourceError(f"a web server lists no folders: name one file, {', '.join(('.onnx', *ARCHIVES))}")

    def list(self) -> list[Item]:
        with self._ask({"Range": "bytes=0-0"}) as response:
            self.ranges = response.status == 206
            length = response.headers.get("Content-Range", "").rpartition("/")[2] if self.ranges else response.headers.get("Content-Length")
            if not (length or "").isdigit():
                raise SourceError("the server does not say how long the file is")
            name = os.path.basename(urlsplit(self._url).path) if self.archive is not None else self._name
            return [Item(name, int(length), _tag(response))]

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        response = self._ask({"Range": f"bytes={first}-{last - 1}"} if self.ranges else {})
        if _tag(response) != item.tag:
            response.close()
            raise Changed("the file changed while it was read")
        return part(response, first, last)

    def _ask(self, headers: Mapping[str, str]) -> Any:
        try:
            return ask(self._url, headers, self._authorization)
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError("the server wants other credentials (401)") from None


def _tag(response: Any) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
