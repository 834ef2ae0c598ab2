"""Rollouts as a part of the server: their RPCs, paths and metrics, and their life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.part import Part
from inferd.rollout.metrics import tables_of
from inferd.rollout.paths import RolloutPaths
from inferd.rollout.rpc import RolloutControl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inferd.part import Method, Resource, Table
    from inferd.rollout.rollouts import Rollouts

__all__ = ["RolloutPart"]


class RolloutPart(Part):
    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts
        self._control = RolloutControl(rollouts)

    def methods(self) -> Mapping[str, Method]:
        return self._control.methods()

    def resources(self) -> Sequence[Resource]:
        return RolloutPaths(self._control).resources()

    def metrics(self) -> Iterable[Table]:
        return tables_of(self._rollouts.status())

    async def ready(self) -> None:
        await self._rollouts.resume()

    def leave(self) -> None:
        self._rollouts.close()
