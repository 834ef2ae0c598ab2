"""Settings of health."""

from __future__ import annotations

from typing import Annotated

from inferd.config.field import about
from inferd.config.part_settings import PartSettings


class Settings(PartSettings, frozen=True, kw_only=True):
    max_watchers: Annotated[int, about("connections", ge=1, le=1_000_000), "Open Watch streams of the health service."] = 1000
    max_connection_watchers: Annotated[
        int,
        about("connections", ge=1, le=1_000_000),
        "Open Watch streams of one connection. Behind a proxy that has one connection for all clients: as many as max_watchers.",
    ] = 16
