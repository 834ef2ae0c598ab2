"""The files of each model: those that a client sent, or else those below the paths.

Never in here: reading a model's files (loading/loader.py), changes of files (files/watching.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.files.places import find_place
from inferd.engine.files.roots import as_roots
from inferd.errors import ConfigError, FailedPrecondition, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from inferd.engine.files.overlay import Overlay
    from inferd.engine.files.places import Place
    from inferd.engine.files.roots import Root


class ModelFiles:
    """Owns the folders of files that clients sent, which the loader's thread alone changes. `place` is for any thread but the event loop's.

    paths: folders and files of models. failed(name, version, error): reports that a model's files cannot be read, and returns why.
    """

    def __init__(self, paths: Sequence[str | Path | Root], failed: Callable[[str, int, Exception], str]) -> None:
        self.roots = as_roots(paths)
        self._failed = failed
        self._overlays: dict[str, Overlay] = {}

    def is_sent(self, name: str) -> bool:
        """Whether the model's files are those that a client sent."""
        return name in self._overlays

    def place(self, name: str) -> Place | None:
        """The model's files: those that a client sent, else those below the paths. None where there are none."""
        return self._overlays[name].place if name in self._overlays else self.find(name)

    def find(self, name: str) -> Place | None:
        """The model's files below the paths."""
        try:
            return find_place(self.roots, name)
        except (ConfigError, StartError) as error:
            raise FailedPrecondition(f"failed to load '{name}': {self._failed(name, 0, error)}") from None

    def is_there(self, name: str) -> bool:
        """Whether the model has files below the paths, even if they cannot be loaded now."""
        try:
            return find_place(self.roots, name) is not None
        except (ConfigError, StartError):
            return True

    def is_below(self, path: Path, name: str) -> bool:
        """Whether the model has files below that one of the paths."""
        return find_place([root for root in self.roots if root.path == path], name) is not None

    def keep(self, name: str, overlay: Overlay | None) -> None:
        """Sets the model's files to those that a client sent; None: to those below the paths. Deletes earlier ones that a client sent."""
        if (old := self._overlays.pop(name, None)) is not None:
            old.folder.cleanup()
        if overlay is not None:
            self._overlays[name] = overlay

    def close(self) -> None:
        """Deletes all files that clients sent."""
        for name in list(self._overlays):
            self.keep(name, None)
