"""The hooks of a part. Never in here: which parts exist (inferd/parts.py), when the hooks are called (serving/server.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inferd._core.batching.tap import Tap
    from inferd.config import Settings
    from inferd.part.method import Method
    from inferd.part.resource import Resource
    from inferd.part.table import Table


class Version(Protocol):
    """A version of a model that is about to start: engine.model.Model."""

    @property
    def name(self) -> str: ...
    def tap(self, tap: Tap) -> None: ...


class Part:
    """A feature of the server. Each hook does nothing until a part overrides it.

    The order is: methods and resources, start, starting of each version, ready, and at the end leave and stop. All run on the event loop,
    except `metrics` (any thread). While the models of the start load, `starting` and `changed` run on the thread that loads them.
    start() raises ConfigError and StartError. An error of start() or ready() ends the start; the log has those of other hooks, and serving
    goes on.
    """

    def methods(self) -> Mapping[str, Method]:
        """RPCs, by full method name."""
        return {}

    def resources(self) -> Sequence[Resource]:
        """Paths of REST."""
        return ()

    def metrics(self) -> Iterable[Table]:
        """Its metrics. Called for each scrape."""
        return ()

    def starting(self, version: Version) -> None:
        """Called when a version is about to start: the part may tap it."""

    async def start(self) -> None:
        """Called before the server loads models. One that opens addresses has bound them."""

    async def ready(self) -> None:
        """Called when all models are loaded, before clients come."""

    def changed(self) -> None:
        """Called when the server's readiness, or the state of a version, may have changed."""

    def reload(self, settings: Settings) -> None:
        """Called when settings that a running server can change were read again."""

    def leave(self) -> None:
        """Called when the server drains: the part begins nothing new, and ends streams that wait for events."""

    async def stop(self) -> None:
        """Called at the end, when every request has its response or was cut off; also after a start that failed."""
