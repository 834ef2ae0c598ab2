"""A path to serve: one file, one model's folder or a repository of models. Its content decides that, once.

A file that somebody copies to the wrong place does not change it: a repository stays a repository, and the log names the entry. Never in
here: the content of a model's folder (places.py).
"""

from __future__ import annotations

import enum
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.engine.configuration.model_config import CONFIG_FILES

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("inferd.engine")

MODEL_FILE = "model.onnx"
HIDDEN = (".", "_")  # entries whose names begin with one are ignored
MAX_TOLD = 1000  # stray entries of one repository that the log names


class Layout(enum.Enum):
    """The kind of a path."""

    UNKNOWN = "nothing lies there as yet"
    FILE = "one model's file"
    MODEL = "one model's folder"
    REPOSITORY = "a folder of models"


@dataclass(slots=True)
class Root:
    """A path and its layout, decided once something is there. told: the stray entries that the log has named."""

    path: Path
    layout: Layout = Layout.UNKNOWN
    told: set[str] = field(default_factory=set)

    def decide(self) -> Layout:
        """Decides the layout if it is unknown, and returns it. Raises OSError where the folder cannot be read."""
        if self.layout is Layout.UNKNOWN:
            self.layout = _layout_of(self.path)
        return self.layout

    def tell(self, strays: Iterable[tuple[str, str]]) -> None:
        """Names each stray entry in the log once. strays: (name, what to do)."""
        for name, cure in strays:
            if name not in self.told and len(self.told) < MAX_TOLD:
                self.told.add(name)
                log.warning("models: %s in the repository %r is not served: %s", ascii(name), str(self.path), cure)


def as_roots(paths: Iterable[str | Path | Root]) -> list[Root]:
    """Makes a new root of each path that is none."""
    return [each if isinstance(each, Root) else Root(Path(each)) for each in paths]


def stray(entry: Path) -> str:
    """Advice on an entry of a repository that looks like a part of a model or cannot be read; '' for any other. Raises OSError."""
    name = entry.name
    if name in CONFIG_FILES or name == MODEL_FILE:
        return f"it lies in no model's folder: move it to NAME/{name if name in CONFIG_FILES else '1/' + name}, or remove it"
    try:
        found = entry.stat()
    except FileNotFoundError:
        return "it is a symbolic link to something that is not there: mend the link, or remove it" if entry.is_symlink() else ""
    if stat.S_ISDIR(found.st_mode):
        if _is_number(name) and _is_version(entry):
            return f"it looks like a version, and lies in no model's folder: move it to NAME/{name}, or its files to {name}/1"
        empty = _is_number(name) and not entries(entry)
        return f"it is empty: put a model at {name}/1/{MODEL_FILE}, or remove it" if empty else ""
    return "" if stat.S_ISREG(found.st_mode) else "it is neither a file nor a folder: remove it"


def _layout_of(path: Path) -> Layout:
    """A folder with models in it is a repository, even if a version lies beside them by mistake. A version alone, or with a configuration,
    makes it one model's folder. Without a version, a configuration, a model.onnx or a numbered folder does. Empty numbered folders beside
    models do not."""
    if path.is_file():
        return Layout.FILE
    if not path.is_dir():
        return Layout.UNKNOWN
    there = entries(path)
    folders = [entry for entry in there if os.path.isdir(entry)]  # os.path never raises, unlike Path
    numbered = [folder for folder in folders if _is_number(folder.name)]
    configured = any(entry.name in CONFIG_FILES for entry in there)
    others = [entry for entry in there if entry not in numbered and entry.name != MODEL_FILE]
    bare = any(entry.suffix == ".onnx" or os.path.isfile(entry / MODEL_FILE) for entry in others)
    versioned = any(map(_has_versions, folders))
    if any(map(_is_version, numbered)):
        return Layout.REPOSITORY if (bare or versioned) and not configured else Layout.MODEL
    if versioned:
        return Layout.REPOSITORY
    if configured or any(entry.name == MODEL_FILE for entry in there):
        return Layout.MODEL
    if numbered and not (bare and not any(map(entries, numbered))):
        return Layout.MODEL
    return Layout.REPOSITORY if there else Layout.UNKNOWN


def _is_version(folder: Path) -> bool:
    """Whether a folder that is named by a number holds a model itself."""
    return any(entry.suffix == ".onnx" and os.path.isfile(entry) for entry in entries(folder))


def _has_versions(folder: Path) -> bool:
    """Whether a folder has versions of a model in it, whatever its name."""
    return any(_is_number(entry.name) and os.path.isdir(entry) and _is_version(entry) for entry in entries(folder))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def entries(folder: Path) -> list[Path]:
    """The entries that are not hidden; none where the folder cannot be read."""
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(HIDDEN)]
    except OSError:
        return []
