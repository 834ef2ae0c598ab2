"""Addresses of servers for HTTP: http://HOST:PORT, https://HOST:PORT, http+unix:/PATH. Resolves no name and opens nothing."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote

__all__ = ["Url", "is_url", "parse_url"]

_SCHEMES = ("http://", "https://", "http+unix:")
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<host>[^][:/?#@\s%]+))(?::(?P<port>[0-9]{1,5}))?(?P<prefix>/[!-~]*)?",
    re.IGNORECASE,
)
_EXPECTED = "target: expected http://HOST:PORT, https://HOST:PORT or http+unix:/PATH"


class Url(NamedTuple):
    """Where a server is. path: of a Unix socket, or @ and its abstract name; then there are no host and port.
    prefix: what comes before /v2 in each path; empty, or begins with a slash."""

    tls: bool
    host: str
    port: int
    prefix: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"http+unix:{self.path.replace('%', '%25')}"  # as parse_url reads it
        return f"http{'s' if self.tls else ''}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        """For the header `host`; the port is left out where the scheme says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host or "localhost"
        return host if self.path or self.port == _port(self.tls) else f"{host}:{self.port}"

    @property
    def socket_name(self) -> str:
        """The address that a Unix socket connects to."""
        return "\0" + self.path[1:] if self.path.startswith("@") else self.path

    @property
    def is_local(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.path or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _port(tls: bool) -> int:
    return 443 if tls else 80


def is_url(target: str) -> bool:
    """Whether an address is meant for HTTP."""
    return target.lower().startswith(_SCHEMES)


def parse_url(text: str) -> Url:
    """Raises ValueError, which does not repeat a password."""
    if text.lower().startswith("http+unix:"):
        path = unquote(text.partition(":")[2].removeprefix("//"))
        if not path.startswith(("/", "@")) or len(path) < 2 or "\0" in path:
            raise ValueError(f"{_EXPECTED} of a socket, or http+unix:@NAME, got {text!r}")
        return Url(False, "", 0, path=path)
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("target: expected a URL without a user and a password; pass token=, or metadata={'authorization': ...}")
    match = _URL.fullmatch(text)
    if match is None or int(match["port"] or 1) > 65535 or any(mark in (match["prefix"] or "") for mark in "?#"):
        raise ValueError(f"{_EXPECTED}, got the URL {text!r}")
    tls = match["scheme"].lower() == "https"
    prefix = (match["prefix"] or "").rstrip("/").removesuffix("/v2")  # some write it down to the protocol's version
    return Url(tls, match["bracketed"] or match["host"], int(match["port"] or _port(tls)), prefix)
