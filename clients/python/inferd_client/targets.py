"""Addresses as gRPC reads them, and which of them stay on this machine. Resolves no name and opens nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

__all__ = ["checked", "is_local"]

_URLS = ("http", "https", "grpc", "grpcs")


def checked(target: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses as gRPC takes them. Raises ValueError for none, for one that is named twice, and for a URL or a path, which gRPC
    would look up as the name of a host."""
    targets = tuple(map(_checked, [target] if isinstance(target, str) else target))
    if not targets:
        raise ValueError("target: expected an address, or several, got none")
    twice = next((name for place, name in enumerate(targets) if name in targets[:place]), None)
    if twice is not None:
        raise ValueError(f"target: {twice!r} is named twice: each address is one connection")
    return targets


def _checked(target: str) -> str:
    scheme, separator, rest = target.partition("://")
    if separator and scheme in _URLS:
        hint = "; for TLS pass tls=TLS()" if scheme in ("https", "grpcs") else ""
        raise ValueError(f"target: expected host:port or unix:path, got the URL {target!r}: write {rest.rstrip('/')!r}{hint}")
    if target.startswith(("/", "./", "../")):
        raise ValueError(f"target: expected host:port or unix:path, got the path {target!r}: write 'unix:{target}'")
    if not target:
        raise ValueError("target: expected host:port or unix:path, got ''")
    if target.startswith("unix:@"):  # as systemd, Envoy and nginx spell an abstract name
        return "unix-abstract:" + target.removeprefix("unix:@")
    return target


def is_local(target: str) -> bool:
    """Whether what is sent there stays on this machine: a Unix socket, or loopback by number or as localhost.

    Of a target that names several hosts all must be local; of what cannot be told the answer is no.
    """
    scheme, separator, rest = target.partition(":")
    if separator and scheme in ("unix", "unix-abstract"):
        return True
    if separator and scheme in ("dns", "ipv4", "ipv6"):
        target = rest.rpartition("/")[2]  # dns://server/name:port
    return all(_is_loopback(_host(place)) for place in target.split(","))


def _host(place: str) -> str:
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0] if place.count(":") == 1 else place


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
