"""Certificates and tokens as a part of the server: it reads changed files while it serves. Never in here: which calls they let in
(security/access.py), TLS itself (security/tls.py)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inferd.part import Part, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferd.config import Settings
    from inferd.part import Table
    from inferd.serving.security.access import Access
    from inferd.serving.security.tls import Tls

LOOK_S = 2.0  # between two looks at the files


class Credentials(Part):
    """changed(): called when tokens or names may have become invalid. A look at the files costs no connection and no call."""

    def __init__(self, access: Access, tls: Tls | None, changed: Callable[[], None]) -> None:
        self._access, self._tls, self._changed = access, tls, changed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def metrics(self) -> Iterator[Table]:
        if self._tls is not None:
            told = "Last moment of the certificate that clients are shown, since the Unix epoch; only with TLS."
            yield gauge("inferd_tls_certificate_expires_timestamp_seconds", told, self._tls.expires_s, combine="min")
            told = "Looks at the files of TLS that found one gone or wrong: those that were read before stay; only with TLS."
            yield counter("inferd_tls_file_failures", told, self._tls.file_failures)
        if self._access.asks_for_tokens:
            told = "Looks at the token file that found it gone, empty or wrong: the tokens that were read before stay; only with tokens."
            yield counter("inferd_token_file_failures", told, self._access.token_file_failures)

    async def ready(self) -> None:
        self._look()

    def reload(self, settings: Settings) -> None:
        if self._access.allow(settings.tls_allow):
            self._changed()
        self._take_files(asked=True)

    def _take_files(self, *, asked: bool) -> None:
        """Reads changed files again. asked: all files, changed or not."""
        if self._tls is not None:
            self._tls.reload(asked=asked)
        if self._access.reload(self._loop.time(), asked=asked):
            self._changed()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Reads changed files every LOOK_S until the server stops. Does nothing if no file is named."""
        if self._tls is not None or self._access.asks_for_tokens:
            self._take_files(asked=False)
            self._timer = self._loop.call_later(LOOK_S, self._look)
