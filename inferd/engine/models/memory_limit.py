"""The limit on the memory of models without their runs (overcommit): which versions fit, and which models leave first.

A policy: it has no thread, no lock and no clock. `check_fits` closes a version that does not fit. Never in here: evicting, waiting for
room (versions.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from inferd.engine.files.places import Place
    from inferd.engine.loading.room import Room
    from inferd.engine.model import Model
    from inferd.engine.models.entry import Entry

KiB = 1 << 10


class MemoryLimit:
    """Owns the limit. On any thread. nbytes: 0: there is none. room: what loads of the same files took before."""

    def __init__(self, nbytes: int, room: Room) -> None:
        self.nbytes, self._room = nbytes, room

    def needed(self, place: Place, versions: Collection[int]) -> int:
        """The expected bytes of these versions of a model. Raises StartError where they would not fit alone."""
        needed = sum(self._room.expected(place, version) for version in versions)
        if needed > self.nbytes:
            raise self._too_large(place.name, needed)
        return needed

    def check_fits(self, loaded: list[Model], serving: Mapping[int, Model]) -> None:
        """Compares the limit with the memory that versions really take, known after a load. Closes the last one and raises StartError if
        they do not fit."""
        new = {model.version for model in loaded}
        held = [*loaded, *(model for version, model in serving.items() if version not in new)]
        if self.nbytes and (nbytes := sum(model.memory_bytes for model in held)) > self.nbytes:
            model = loaded.pop()
            model.close()
            raise self._too_large(model.name, nbytes)

    def _too_large(self, name: str, nbytes: int) -> StartError:
        return StartError(
            f"model '{name}' takes about {nbytes // KiB} KiB, and model_memory is {self.nbytes // KiB} KiB: raise it, or serve "
            "fewer versions of the model"
        )


def idle_by_last_use(entries: Iterable[Entry]) -> list[str]:
    """The idle models in memory, the least recently used first."""
    idle = [entry for entry in entries if entry.models and all(model.queues.idle for model in entry.models)]
    return [entry.name for entry in sorted(idle, key=lambda entry: max(model.used_ns for model in entry.models))]
