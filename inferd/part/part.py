"""The hooks of a part. Never in here: which parts there are (serving/parts/registry.py), when they are called (serving/server.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inferd._core.batching.tap import Tap
    from inferd.config import Settings
    from inferd.part.method import Method
    from inferd.part.resource import Resource
    from inferd.part.table import Table

__all__ = ["Part", "Version"]


class Version(Protocol):
    """A version of a model that is about to start: engine.model.Model."""

    @property
    def name(self) -> str: ...
    def tap(self, tap: Tap) -> None: ...


class Part:
    """A feature of the server. Each hook does nothing until a part overrides it.

    The order is: methods and resources, start, starting of each version, ready, and at the end leave and stop. All run on the event loop,
    but for `metrics` (any thread) and `starting` (the loader's thread). start() raises ConfigError and StartError.
    """

    def methods(self) -> Mapping[str, Method]:
        """RPCs, by full method name."""
        return {}

    def resources(self) -> Sequence[Resource]:
        """Paths of REST."""
        return ()

    def metrics(self) -> Iterable[Table]:
        """Called once a scrape."""
        return ()

    def starting(self, version: Version) -> None:
        """A version is about to start: the part may tap it."""

    async def start(self) -> None:
        """The server has its addresses, and loads its models next."""

    async def ready(self) -> None:
        """All models are loaded, and clients come next."""

    def changed(self) -> None:
        """The server's readiness, or the state of a version, may be another one now."""

    def reload(self, settings: Settings) -> None:
        """Settings that a running server takes were read again."""

    def leave(self) -> None:
        """The server drains: the part begins nothing, and ends streams that wait for news."""

    async def stop(self) -> None:
        """Every request has its response."""
