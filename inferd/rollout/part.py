"""Rollouts as a part of the server: their RPCs, paths and metrics, and their life."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from inferd.part import Part
from inferd.rollout import audit, state
from inferd.rollout.audit import Audit
from inferd.rollout.canary import Canary
from inferd.rollout.ledger import Ledger
from inferd.rollout.memory import check_memory
from inferd.rollout.metrics import tables_of
from inferd.rollout.paths import RolloutPaths
from inferd.rollout.rollouts import Rollouts
from inferd.rollout.rpc import RolloutControl
from inferd.rollout.settings import Settings
from inferd.rollout.shadow import Shadow
from inferd.rollout.state import Kind, RolloutFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from inferd.config import ServerSettings
    from inferd.engine.models.lifecycle import Lifecycle
    from inferd.engine.models.repository import Repository
    from inferd.part import Method, Resource, Table


class Given(Protocol):
    settings: ServerSettings
    repository: Repository

    @property
    def lifecycle(self) -> Lifecycle | None: ...
    def state_file(self, name: str) -> Path | None: ...


def make(given: Given) -> Part:
    file = RolloutFile(given.state_file(state.FILE), check_memory)
    ledger = Ledger(file, Audit(given.state_file(audit.FILE)))
    processes = max(given.settings.workers, 1)  # a worker's settings have the number of all
    most = given.settings.of(Settings).max_rollouts
    kinds = {Kind.SHADOW: Shadow, Kind.CANARY: Canary}
    rollouts = Rollouts(given.repository, given.lifecycle, asyncio.get_running_loop(), ledger, kinds, processes, most)
    return RolloutPart(rollouts, file if given.lifecycle is not None else None)


class RolloutPart(Part):
    """file: None: models stay as they are, and so no rollout begins."""

    def __init__(self, rollouts: Rollouts, file: RolloutFile | None = None) -> None:
        self.rollouts, self._file = rollouts, file
        self._control = RolloutControl(rollouts)

    def methods(self) -> Mapping[str, Method]:
        return self._control.methods()

    def resources(self) -> Sequence[Resource]:
        return RolloutPaths(self._control).resources()

    def metrics(self) -> Iterable[Table]:
        return tables_of(self.rollouts.status())

    async def start(self) -> None:
        if self._file is not None:
            await asyncio.to_thread(self._file.begin)

    async def ready(self) -> None:
        await self.rollouts.resume()

    def leave(self) -> None:
        self.rollouts.close()
