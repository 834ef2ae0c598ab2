"""A part whose hooks all raise, except those that begin it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from inferd.part import Part

if TYPE_CHECKING:
    from inferd.part.part import Version


def make(given: object) -> Part:
    return FaultyPart()


class FaultyPart(Part):
    def metrics(self) -> NoReturn:
        raise RuntimeError("metrics")

    def starting(self, version: Version) -> None:
        raise RuntimeError("starting")

    def changed(self) -> None:
        raise RuntimeError("changed")

    def leave(self) -> None:
        raise RuntimeError("leave")

    async def stop(self) -> None:
        raise RuntimeError("stop")
