"""Settings of the monitor."""

from __future__ import annotations

from typing import Annotated

from inferd.config.field import about
from inferd.config.part_settings import PartSettings


class Settings(PartSettings, frozen=True, kw_only=True):
    drift: Annotated[
        bool,
        about("monitor"),
        "Whether versions that have a reference profile are watched. `inferd profile` learns one, and `inferd drift` shows how far "
        "requests and responses have moved away from it.",
    ] = True
    drift_window_rows: Annotated[
        int,
        about("monitor", ge=100, le=10**9),
        "Rows of a window that is compared with the reference. Fewer see large changes earlier, and miss small ones.",
    ] = 1000
    drift_window_s: Annotated[
        int, about("monitor", ge=1, le=30 * 86_400), "Age at which a window ends with fewer rows. One of fewer than 50 rows goes on."
    ] = 3600
    drift_webhook: Annotated[
        str | None,
        about("monitor"),
        "URL that gets a POST with JSON when the findings of a version change. A failed one is tried three times more.",
    ] = None
    drift_webhook_key: Annotated[
        str | None, about("monitor", file=True), "File with the key that signs these requests, in the header X-Inferd-Signature."
    ] = None
    drift_command: Annotated[
        tuple[str, ...],
        about("monitor", items="a program and its arguments"),
        "Program that is started with the same JSON on its stdin. It is killed after a minute.",
    ] = ()
    drift_cool_down_s: Annotated[
        int,
        about("monitor", ge=0, le=30 * 86_400),
        "Shortest time between two notices of one version. A change that comes meanwhile is told at its end.",
    ] = 3600
