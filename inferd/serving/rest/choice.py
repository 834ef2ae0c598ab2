"""Which server speaks REST: one of this process, or none. Never in here: the servers."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from inferd.errors import StartError
from inferd.serving.systemd import HTTP_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inferd.config import Address, Settings
    from inferd.serving.systemd import Inherited

__all__ = ["NOT_SERVED", "addresses", "rest_server", "slower"]

log = logging.getLogger(__name__)

# Some builds lack these modules of the native server: each needs the library of this package of Debian.
NATIVE = {"inferd._core.http1.connection": "libllhttp-dev", "inferd._core.inference.rest_path": "libyyjson-dev"}
NOT_SERVED = "REST is not served: aiohttp is not installed; pip install 'inferd[http]', or serve with --http-port off"


def rest_server(*, native: bool) -> Literal["native", "aiohttp", ""]:
    """aiohttp is the stand-in (stand_in.py); empty: there is none. native: the transport of gRPC is."""
    if native and not missing():
        return "native"
    return "aiohttp" if find_spec("aiohttp") is not None else ""


def missing() -> str:
    """Debian's packages that the native server of REST needs, and that were not there when inferd was built."""
    return ", ".join(package for module, package in NATIVE.items() if find_spec(module) is None)


def slower() -> str:
    """A hint for builds that have the native transport of gRPC alone."""
    return f"REST is served by aiohttp, which is slower: install {missing()} and build inferd again"


def addresses(settings: Settings, given: Sequence[Inherited], *, native: bool) -> list[Address]:
    """Where to listen beside the sockets that are given, which replace grpc_port and http_port. Raises StartError."""
    has_http = any(each.http for each in given)
    if has_http and not (settings.serves_http and rest_server(native=native)):
        why = "aiohttp is not installed: pip install 'inferd[http]'" if settings.serves_http else "REST is off: leave --http-port off out"
        raise StartError(f"LISTEN_FDNAMES: expected no socket named {HTTP_NAME}, because {why}; or stop the unit of that socket")
    return served(settings.addresses(grpc=all(each.http for each in given), http=not has_http), native=native)


def served(addresses: Iterable[Address], *, native: bool) -> list[Address]:
    """All of these; without those of REST, and with a warning, where nothing here speaks it."""
    asked = list(addresses)
    if not any(address.http for address in asked):
        return asked
    if found := rest_server(native=native):
        if native and found != "native":
            log.warning(slower())
        return asked
    log.warning(NOT_SERVED)
    return [address for address in asked if not address.http]
