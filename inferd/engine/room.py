"""How much memory a version takes, and whether it fits into what is left: by the size of its files, and by what earlier loads took.

Never in here: loading, and how much memory the process may use (memory_limit.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.content import files_of
from inferd.errors import StartError
from inferd.system.memory_limit import memory_limit_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.engine.model import Model
    from inferd.engine.places import Place

__all__ = ["LEAST_FACTOR", "Room", "resident_bytes"]

FACTOR = 2.0  # memory of a loaded model by the size of its files, where none of its versions was loaded before
LEAST_FACTOR = 1.0
CHECKED_BYTES = 16 << 20  # loads of files of less than this are not measured
SESSION_BYTES = 256 << 10  # of a version that serves, beside files, buffers and steps: session, graph, queues, histograms (many_models.py)
MiB = 1 << 20


class Room:
    """Knows what loads took. `resident`, `limit`: bytes that the process has, and may have."""

    def __init__(self, resident: Callable[[], int] | None = None, limit: Callable[[], int] = memory_limit_bytes) -> None:
        self._resident, self._limit = resident or resident_bytes, limit
        self._factors: dict[str, float] = {}  # of each model, as its last load had it
        self._beside: dict[str, int] = {}  # bytes of buffers and steps, of each model as its last load had them

    def expected(self, place: Place, version: int) -> int:
        """Bytes that a version takes once it is loaded, without its runs."""
        size = _size(place, version)
        if size >= CHECKED_BYTES:
            return int(self._factors.get(place.name, FACTOR) * size)
        return int(FACTOR * size) + SESSION_BYTES + self._beside.get(place.name, 0)

    def check(self, place: Place, version: int, factor: float = FACTOR) -> None:
        """StartError, with the numbers, where a version would not fit beside what is there. factor: of a model that was not loaded yet."""
        size = _size(place, version)
        if size < CHECKED_BYTES:
            return
        factor = self._factors.get(place.name, factor)
        resident, limit = self._resident(), self._limit()
        if resident + factor * size > limit:
            raise StartError(
                f"model '{place.name}' version {version} does not fit into memory: its files have {size // MiB} MiB and take about "
                f"{int(factor * size) // MiB} MiB, and the process holds {resident // MiB} MiB of the {limit // MiB} MiB that it may: "
                "unload a model, or raise the memory limit"
            )

    def measured(self, place: Place, version: int, load: Callable[[], Model]) -> Model:
        """Returns the model that `load` made, and remembers how much memory that took."""
        before = self._resident()
        loaded = load()
        size = _size(place, version)
        if size >= CHECKED_BYTES:
            self._factors[place.name] = max(LEAST_FACTOR, (self._resident() - before) / size)
        self._beside[place.name] = loaded.buffer_bytes + loaded.origin.steps_bytes
        loaded.memory_bytes = self.expected(place, version)
        return loaded


def _size(place: Place, version: int) -> int:
    total = 0
    for path in files_of(place, version).values():
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
