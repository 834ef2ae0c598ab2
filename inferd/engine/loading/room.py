"""Estimates how much memory a version takes, by its files and earlier loads, and whether it fits.

Never in here: loading, and how much memory the process may use (memory_limit.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.files.content import files_of
from inferd.errors import StartError
from inferd.system.memory_limit import memory_limit_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.engine.files.places import Place
    from inferd.engine.model import Model

FACTOR = 2.0  # memory of a loaded model per byte of its files, if none of its versions was loaded before
LEAST_FACTOR = 1.0
CHECKED_BYTES = 16 << 20  # loads of smaller files are not measured
SESSION_BYTES = 256 << 10  # a version's session, graph, queues and histograms, beside files, buffers and steps (many_models.py)
MiB = 1 << 20


class Room:
    """Remembers the memory of loads. resident(), limit(): bytes that the process has, and may have."""

    def __init__(self, resident: Callable[[], int] | None = None, limit: Callable[[], int] = memory_limit_bytes) -> None:
        self._resident, self._limit = resident or resident_bytes, limit
        self._factors: dict[str, float] = {}  # memory per byte of files in each model's last load
        self._beside: dict[str, int] = {}  # bytes of buffers and steps in each model's last load

    def expected(self, place: Place, version: int) -> int:
        """Bytes that a version takes once it is loaded, without its runs."""
        size = _size(place, version)
        if size >= CHECKED_BYTES:
            return int(self._factors.get(place.name, FACTOR) * size)
        return int(FACTOR * size) + SESSION_BYTES + self._beside.get(place.name, 0)

    def check(self, place: Place, version: int, factor: float = FACTOR) -> None:
        """Raises StartError, with the numbers, if a version does not fit. factor: memory per byte of files, for a model's first load."""
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
        """Calls `load`, remembers how much memory that took, and returns the model."""
        before = self._resident()
        loaded = load()
        size = _size(place, version)
        if size >= CHECKED_BYTES:
            self._factors[place.name] = max(LEAST_FACTOR, (self._resident() - before) / size)
        self._beside[place.name] = loaded.memory.buffer_bytes + loaded.origin.steps_bytes
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
