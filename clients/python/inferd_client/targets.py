"""Addresses as gRPC reads them, or URLs; and which of them stay on this machine. Resolves no name and opens nothing."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from inferd_client.urls import is_url, parse_url

__all__ = ["checked", "is_local"]

_PLACE = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>localhost|[0-9.]+))(?::[0-9]{1,5})?|(?P<bare>[0-9a-f:]+:[0-9a-f:.]*)",
    re.ASCII | re.IGNORECASE,
)
PORT = 8001  # where `inferd serve` listens unless told otherwise; gRPC itself would take 443
THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
_URLS = ("grpc", "grpcs")


def checked(target: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses as gRPC takes them, or URLs.

    Raises ValueError for none, for one that is named twice, and for a mix of both kinds. A path is an error, too: gRPC would look it up as
    a host."""
    targets = tuple(map(_checked, [target] if isinstance(target, str) else target))
    if not targets:
        raise ValueError("target: expected an address, or several, got none")
    twice = next((name for place, name in enumerate(targets) if name in targets[:place]), None)
    if twice is not None:
        raise ValueError(f"target: {twice!r} is named twice: each address is one connection")
    if len({is_url(name) for name in targets}) > 1:
        raise ValueError(f"target: expected URLs, or addresses for gRPC, got some of either: {', '.join(targets)}")
    return targets


def _checked(target: str) -> str:
    if is_url(target):
        return str(parse_url(target))
    scheme, separator, rest = target.partition("://")
    if separator and scheme in _URLS:
        hint = "; for TLS pass tls=TLS()" if scheme == "grpcs" else ""
        raise ValueError(f"target: expected host:port or unix:path, got the URL {target!r}: write {rest.rstrip('/')!r}{hint}")
    if target.startswith(("/", "./", "../")):
        raise ValueError(f"target: expected host:port or unix:path, got the path {target!r}: write 'unix:{target}'")
    if not target:
        raise ValueError("target: expected host:port or unix:path, got ''")
    if target.startswith("unix:@"):  # as systemd, Envoy and nginx spell an abstract name
        return "unix-abstract:" + target.removeprefix("unix:@")
    return f"{target}:{PORT}" if target in THIS_MACHINE else target


def is_local(target: str) -> bool:
    """Whether what is sent there stays on this machine: a Unix socket, or loopback by number or as localhost.

    It knows URLs and gRPC's forms: `unix:path`, `unix-abstract:name`, `host[:port]`, `dns:[///]host[:port]` without a name server. It also
    knows `ipv4:` and `ipv6:` with addresses, all of which must be local. Any other form is not local.
    """
    if is_url(target):
        return parse_url(target).is_local
    scheme, _, rest = target.partition(":")
    if scheme == "unix":
        return rest.startswith("///") or (rest != "" and not rest.startswith("//"))  # gRPC takes no host here
    if scheme == "unix-abstract":
        return rest != ""
    if scheme == "dns":
        return _is_loopback(rest.removeprefix("///"))
    if scheme in ("ipv4", "ipv6"):
        return all(_is_loopback(place) and not place.lower().startswith("localhost") for place in rest.split(","))
    return _is_loopback(target)


def _is_loopback(place: str) -> bool:
    """host[:port], of which nothing else is known: an IPv6 address with a port stands in brackets."""
    match = _PLACE.fullmatch(place)
    if match is None:
        return False
    host = match["bracketed"] or match["name"] or match["bare"]
    return host.lower() == "localhost" or _is_loopback_address(host)


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
