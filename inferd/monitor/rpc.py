"""The monitor by RPC (inferd.v1.Monitor). Never in here: how a version is judged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inferd.errors import InvalidArgument, NotFound
from inferd.monitor.report import report_of
from inferd.part import Method
from inferd.protocol import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.monitor.watcher import Watcher

SERVICE = "inferd.v1.Monitor"
CURE = "learn one with `inferd profile`, and load the version again"


class MonitorControl:
    """serves(model): whether there is such a model."""

    def __init__(self, watcher: Watcher, serves: Callable[[str], bool]) -> None:
        self._watcher, self._serves = watcher, serves

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        return {f"/{SERVICE}/Drift": Method("unary", self.drift, options.DriftRequest, options.DriftResponse)}

    async def drift(self, request: options.DriftRequest) -> options.DriftResponse:
        if request.model_version < 0:
            raise InvalidArgument(f"model_version: expected 0 or more, got {request.model_version}")
        return await asyncio.to_thread(self._reports, request.model_name, request.model_version)

    def _reports(self, model: str, version: int) -> options.DriftResponse:
        if not self._serves(model):
            raise NotFound(f"model_name: there is no model '{model:.100}'")
        watched = [watch for watch in self._watcher.watches() if watch.name == model and version in (0, watch.version)]
        if not watched:
            which = f"version {version} of model '{model}'" if version else f"no version of model '{model}'"
            raise NotFound(f"model_name: {which} has {'no' if version else 'a'} reference profile: {CURE}")
        return options.DriftResponse(reports=[report_of(watch, self._watcher.window_rows) for watch in watched])
