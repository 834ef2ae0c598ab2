"""Files of a web server as a Source, and the HTTP client that registry.py shares. It is Python's own client, which takes proxies and
certificates from the environment, and does not change a query, which may be a signature.
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from inferd.config import without_secrets
from inferd.engine.remote.location import ARCHIVES
from inferd.engine.remote.source import Changed, Item, NoRanges, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from inferd.engine.remote.location import Location
    from inferd.engine.remote.until import Until

TIMEOUT_S = 30  # the longest wait for bytes of the server
CHUNK_BYTES = 1 << 18
_LENGTH = re.compile("[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-.*")

log = logging.getLogger("inferd.engine")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers only, and never from TLS to plain text."""

    def redirect_request(self, request: Any, *rest: Any) -> Any:
        rest[0].close()  # else urllib reads the body, however long it is
        target = rest[-1].lower()
        if not target.startswith(("http://", "https://")) or (request.full_url.startswith("https:") and target.startswith("http:")):
            raise SourceError(f"the server redirects to '{without_secrets(rest[-1])}', which is not followed")
        return super().redirect_request(request, *rest)


class _Socket(io.RawIOBase):
    """The bytes that a server sends. The time limit of the fetch holds for each read: a slow-drip server would hold it up forever."""

    def __init__(self, raw: Any, sock: Any, until: Until) -> None:
        self._raw, self._sock, self._until = raw, sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_timeout_s(self._until))
        try:
            count: int = self._raw.readinto(buffer)
            return count
        except TimeoutError:
            self._until.check()
            raise

    def close(self) -> None:
        self._raw.close()
        super().close()


class Connections(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections with a fetch's time limit. Rejects redirects from the internet to addresses inside this network."""

    def __init__(self, until: Until) -> None:
        super().__init__()
        self._until = until
        self._begins_inside: bool | None = None  # whether the first server has an address inside; None: not connected yet

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(partial(self._connection, http.client.HTTPSConnection), request)

    def _connection(self, kind: Callable[..., Any], host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection.response_class = self._response
        connection.connect = partial(self._connect, connection, connection.connect)
        return connection

    def _connect(self, connection: Any, connect: Callable[[], None]) -> None:
        """Checks the address of the connection before a request: another look-up of the name might return another one."""
        connect()
        inside = is_inside(connection.sock.getpeername()[0])
        if self._begins_inside is None:
            self._begins_inside = inside
        elif inside and not self._begins_inside:
            connection.close()
            raise SourceError("the server redirects to an address inside this network, which is not followed")

    def _response(self, sock: Any, *rest: Any, **options: Any) -> Any:
        response = http.client.HTTPResponse(sock, *rest, **options)
        response.fp = io.BufferedReader(_Socket(response.fp.detach(), sock, self._until))
        return response


def is_inside(address: str) -> bool:
    """Whether an IP address is not on the internet: loopback, link-local, private or reserved."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return not (getattr(found, "ipv4_mapped", None) or found).is_global


def _timeout_s(until: Until) -> float:
    until.check()
    return min(TIMEOUT_S, max(until.left_s, 0.001))


def ask(url: str, headers: Mapping[str, str], until: Until, authorization: str = "", unauthorized: str = "") -> Any:
    """Sends a GET and returns the response, which the caller closes. authorization: for this server, not for one that it redirects to.
    unauthorized: the text of the error for 401; '': that is an HTTPError, which the caller handles. Raises SourceError."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "inferd", **headers})
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        return urllib.request.build_opener(_Redirects, Connections(until)).open(request, timeout=_timeout_s(until))
    except urllib.error.HTTPError as error:
        if error.code == 401 and not unauthorized:
            raise
        error.close()
        if error.code == 401:
            raise SourceError(unauthorized) from None
        if error.code == 416:
            raise Changed("a file is shorter than it was when it was listed") from None
        if error.code == 403:
            raise SourceError("the server does not let these credentials read it (403)") from None
        if error.code < 400:
            raise SourceError(f"the server redirects too often, or to nowhere ({error.code})") from None
        reason = http.client.responses.get(error.code, "")
        raise SourceError(f"the server responded with {error.code} {reason}", again=error.code == 429 or error.code >= 500) from None
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


def whole(response: Any, limit_bytes: int) -> bytes:
    """A body that must be small. Closes the response."""
    body = b""
    for piece in content(response):
        body += piece
        if len(body) > limit_bytes:
            response.close()
            raise SourceError(f"the server sent more than {limit_bytes >> 20} MiB where a short response was expected")
    return body


def part(response: Any, first: int, last: int) -> Iterator[bytes]:
    """The body of a response to a request for these bytes."""
    if response.status != 206 and first > 0:
        response.close()
        raise NoRanges("the server sends whole files only")
    if response.status == 206:
        sent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if sent is None or int(sent[1]) != first:
            response.close()
            raise SourceError("the server sent other bytes of the file than those asked for")
    left = last - first
    for piece in content(response):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


class WebSource:
    """One file: an .onnx file, or an archive of a model's folder. Web servers list no folders."""

    ranges = True

    def __init__(self, location: Location, until: Until) -> None:
        self._until = until
        self._validator = ""
        parts = urlsplit(location.url)
        user, at, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        name, _, password = user.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}" if at else ""
        self._name, self._shown = location.leaf, location.shown
        self.archive: str | None = "" if parts.path.endswith(ARCHIVES) else None
        if self.archive is None and not location.leaf.endswith(".onnx"):
            raise SourceError(f"a web server lists no folders: name one file, {', '.join(('.onnx', *ARCHIVES))}")

    def list(self) -> list[Item]:
        with self._ask({"Range": "bytes=0-0"}) as response:
            self.ranges = response.status == 206
            length = response.headers.get("Content-Range", "").rpartition("/")[2] if self.ranges else response.headers.get("Content-Length")
            if length is None or not _LENGTH.fullmatch(length):
                raise SourceError("the server does not say how long the file is")
            self._validator = tag = _validator(response)
            if not tag:  # two responses may be of different files, so all of it is read in one
                self.ranges, tag = False, f"read at {time.time_ns()}"
                log.info("'%s': the server sends neither ETag nor Last-Modified: the file is downloaded each time", self._shown)
            name = os.path.basename(urlsplit(self._url).path) if self.archive is not None else self._name
            return [Item(name, int(length), tag)]

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        response = self._ask({"Range": f"bytes={first}-{last - 1}"} if self.ranges else {})
        if _validator(response) != self._validator:
            response.close()
            raise Changed("the file changed while it was read")
        return part(response, first, last)

    def _ask(self, headers: Mapping[str, str]) -> Any:
        return ask(self._url, headers, self._until, self._authorization, "the server wants other credentials (401)")


def _validator(response: Any) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
