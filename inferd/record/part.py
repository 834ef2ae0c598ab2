"""The record as a part of the server: it taps the models that are recorded. Never in here: how requests are recorded (recorder.py)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from inferd.part import Part
from inferd.record.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inferd.config import ServerSettings
    from inferd.part import Table
    from inferd.part.part import Version
    from inferd.record.recorder import Recorder

STOP_S = 5.0  # for the last requests to be recorded


class Given(Protocol):
    settings: ServerSettings


def make(given: Given) -> Part | None:
    if given.settings.of(Settings).record is None:
        return None
    return RecordPart(given.settings)


class RecordPart(Part):
    """settings: with a number in place of each `auto`."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._recorder: Recorder | None = None

    async def start(self) -> None:
        from inferd.record.recorder import Recorder  # with pyarrow

        self._recorder = Recorder(self._settings.of(Settings), self._settings.message_memory_bytes)
        self._recorder.start()

    def starting(self, version: Version) -> None:
        assert self._recorder is not None
        self._recorder.watch(version)

    def metrics(self) -> Iterable[Table]:
        return () if self._recorder is None else self._recorder.metrics()

    async def stop(self) -> None:
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.stop, STOP_S)
