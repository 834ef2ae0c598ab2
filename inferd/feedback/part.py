"""The feedback as a part of the server: its RPCs, paths and metrics, and its life. Never in here: how labels join."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from inferd.errors import FailedPrecondition, NotFound
from inferd.feedback.settings import Settings
from inferd.part import Part
from inferd.rollout.part import RolloutPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inferd.config import ServerSettings
    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository
    from inferd.feedback.writer import Writer
    from inferd.part import Method, Resource, Table
    from inferd.part.part import Version

STOP_S = 5.0  # for the last predictions to be written
P = TypeVar("P", bound=Part)


class Given(Protocol):
    settings: ServerSettings
    repository: Repository

    def of(self, kind: type[P]) -> P: ...


def make(given: Given) -> Part | None:
    if given.settings.of(Settings).feedback is None:
        return None
    return FeedbackPart(given)


class FeedbackPart(Part):
    def __init__(self, given: Given) -> None:
        from inferd.feedback.rpc import FeedbackControl  # with numpy's statistics

        self._given = given
        self._writer: Writer | None = None
        self._control = FeedbackControl(lambda: self.writer, self._folder, self._serves, self._judged)

    @property
    def writer(self) -> Writer:
        assert self._writer is not None
        return self._writer

    @property
    def _folder(self) -> str:
        return str(self._given.settings.of(Settings).feedback)

    def methods(self) -> Mapping[str, Method]:
        return self._control.methods()

    def resources(self) -> Sequence[Resource]:
        from inferd.feedback.paths import FeedbackPaths

        return FeedbackPaths(self._control).resources()

    def metrics(self) -> Iterable[Table]:
        from inferd.feedback.metrics import tables_of

        return () if self._writer is None else tables_of(self._writer)

    async def start(self) -> None:
        self._writer = await asyncio.to_thread(self._opened)
        self._writer.start()

    def starting(self, version: Version) -> None:
        self.writer.watch(cast("Model", version))

    async def stop(self) -> None:
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop, STOP_S)

    def _opened(self) -> Writer:
        from inferd.feedback.store import Store
        from inferd.feedback.writer import Writer

        settings = self._given.settings
        own = settings.of(Settings)
        store = Store(self._folder, limit_bytes=own.feedback_limit_bytes, keep_s=own.feedback_keep_s)
        return Writer(store, own.feedback_slices, settings.message_memory_bytes)

    def _serves(self, model: str) -> bool:
        return bool(self._given.repository[model].models) or model in self._given.repository.on_demand

    def _judged(self, model: str, right: Mapping[str, bool]) -> None:
        """A canary that has the guard `outcome` learns it, too."""
        with suppress(NotFound, FailedPrecondition):
            self._given.of(RolloutPart).rollouts.report(model, right.items())
