"""Addresses to listen on or to connect to: host:port, [IPv6]:port, unix:/path and unix:@name. Never in here: sockets, DNS."""

from __future__ import annotations

import re
from typing import NamedTuple

EXPECTED_HOST = "expected an IPv4 or IPv6 address, or a name of parts of 1 to 63 characters"
PORT = 8001  # where `inferd serve` listens unless told otherwise
THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
HTTP = "http:"  # prefix of an address in `listen` that speaks REST in place of gRPC
PLAINTEXT = "plaintext:"  # prefix of an address in `listen` that speaks no TLS although the others do


class Address(NamedTuple):
    """A place to listen on or to connect to: a Unix socket's `path`, or its abstract name behind @, else `host` and `port`."""

    host: str
    port: int
    path: str = ""
    tls: bool = False  # whether a server speaks TLS there,
    http: bool = False  # and REST in place of gRPC

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_abstract(self) -> bool:
        """Whether the Unix socket has no file, but a name in Linux's own table: it goes with its process, and has no permissions."""
        return self.path.startswith("@")

    @property
    def socket_name(self) -> str:
        """The name that a Unix socket is bound or connected to."""
        return "\0" + self.path[1:] if self.is_abstract else self.path

    @property
    def for_grpc(self) -> str:
        """As grpc spells it."""
        return f"unix-abstract:{self.path[1:]}" if self.is_abstract else str(self)


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://+(?P<host>\[[^]/]*\]|[^:/]*)(?P<port>:[0-9]+)?")


def is_http(text: str) -> bool:
    """Whether an address is a URL for HTTP, which the client package reads."""
    return text.lower().startswith(("http://", "https://", "http+unix:"))


def is_host(text: str) -> bool:
    """Whether a resolver can be asked for it."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return "\0" not in text


def is_origin(text: str) -> bool:
    """Whether a browser sends it as an Origin: a URL's scheme, host and port, and nothing behind them."""
    url = _URL.fullmatch(text)
    return url is not None and bool(url["host"]) and is_host(url["host"])


def parse_address(text: str) -> Address:
    """host:port, [IPv6]:port, unix:/path or unix:@name. ValueError with a message that says what was expected."""
    if text.startswith("unix-abstract:"):
        text = "unix:@" + text.removeprefix("unix-abstract:")  # as gRPC spells it
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")  # unix:///run/x.sock is how gRPC spells it, too
        if path in ("", "@") or "\0" in path:
            raise ValueError(f"expected unix:/path of a socket or unix:@name of an abstract one, got '{text}'")
        return Address("", 0, path)
    if url := _URL.match(text):
        plain = " (flags say whether TLS is spoken)" if url["scheme"].lower() in ("https", "grpcs") else ""
        address = (url["host"] or "HOST") + (url["port"] or ":PORT")
        raise ValueError(f"expected host:port or unix:/path, got the URL '{text}': write '{address}'{plain}")
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"expected an IPv6 address in brackets, such as [::1]:8001, got '{text}'")
    if not is_host(host):
        raise ValueError(f"{EXPECTED_HOST} before the port, got '{text}'")
    if not (colon and host and re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and int(port) <= 65535):
        raise ValueError(f"expected host:port with a port from 0 to 65535, [IPv6]:port or unix:/path, got '{text}'")
    return Address(host, int(port))


def parse_target(text: str) -> Address:
    """An address to connect to, as `parse_address` has it. This machine may be named without a port: its port is then 8001."""
    return parse_address(f"{text}:{PORT}" if text in THIS_MACHINE else text)


def parse_listen(text: str, *, tls: bool) -> Address:
    """An address of a server that speaks TLS on its ports, or not: plaintext:host:port is one where it never does. http:host:port and
    http:plaintext:host:port are for REST. ValueError."""
    http = text.startswith(HTTP)
    place = text.removeprefix(HTTP).removeprefix("//") if http else text
    plain = place.startswith(PLAINTEXT)
    if plain and not tls:
        raise ValueError(f"expected host:port, got '{text}': without tls_cert all ports are plaintext; leave {PLAINTEXT} out")
    address = parse_address(place.removeprefix(PLAINTEXT))
    return address._replace(tls=tls and not plain and not address.path, http=http)
