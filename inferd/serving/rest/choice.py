"""Which server speaks REST: one of this process, or none. Never in here: the servers."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inferd.config import Address

__all__ = ["NOT_SERVED", "rest_server", "served"]

log = logging.getLogger(__name__)

NOT_SERVED = "REST is not served: aiohttp is not installed; pip install 'inferd[http]', or serve with --http-port off"


def rest_server() -> Literal["aiohttp", ""]:
    """aiohttp is the stand-in (stand_in.py); empty: there is none."""
    return "aiohttp" if find_spec("aiohttp") is not None else ""


def served(addresses: Iterable[Address]) -> list[Address]:
    """All of these; without those of REST, and with a warning, where nothing here speaks it."""
    asked = list(addresses)
    if rest_server() or not any(address.http for address in asked):
        return asked
    log.warning(NOT_SERVED)
    return [address for address in asked if not address.http]
