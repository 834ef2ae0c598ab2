"""The record as a part of the server: it taps the models that are recorded. Never in here: how requests are recorded (recorder.py)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inferd.part import Part
from inferd.part.share import Share, spelled
from inferd.record.recorder import Recorder, most_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inferd.config import Settings
    from inferd.part import Table
    from inferd.part.part import Version

__all__ = ["RecordPart"]

STOP_S = 5.0  # for the last requests to be recorded


class RecordPart(Part):
    """settings: with a number in place of each `auto`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._recorder: Recorder | None = None

    async def start(self) -> None:
        self._recorder = Recorder(self._settings, self._settings.message_memory_bytes)
        self._recorder.start()

    def starting(self, version: Version) -> None:
        assert self._recorder is not None
        self._recorder.watch(version)

    def metrics(self) -> Iterable[Table]:
        return () if self._recorder is None else self._recorder.metrics()

    async def stop(self) -> None:
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.stop, STOP_S)


def shares(settings: Settings, workers: int) -> list[Share]:
    """The most that the recorders of all processes hold."""
    if settings.record is None:
        return []
    each = most_bytes(settings.message_memory_bytes // workers)
    return [Share("record", each * workers, f"{workers} x {spelled(each)}: a batch, the largest request and pyarrow")]
