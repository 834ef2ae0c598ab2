"""The files that a version is made of, and whether they are still the same: by their bytes, not by their times.

A link that points elsewhere, as Kubernetes swaps those of a ConfigMap, is another file; the same bytes written again are the same
version. Never in here: when somebody looks, what happens then.
"""

from __future__ import annotations

import hashlib
import os
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.engine.places import Place

__all__ = ["Content", "Digests", "Stamps", "files_of", "stamp_of", "stamps_of"]

MAX_FILES = 10_000  # of one version that are looked at
MAX_KNOWN = 100_000  # digests that are kept
WARMUP = "warmup"  # the folder of the files that model_warmup names
HIDDEN = (".", "_")  # names that begin so are no part of a model

Stamp: TypeAlias = tuple[int, ...]
Stamps: TypeAlias = dict[str, Stamp]  # what the system says of each file, by path
Content: TypeAlias = dict[str, str]  # the SHA-256 of each file, by its path in the model's folder


def files_of(place: Place, version: int) -> dict[str, Path]:
    """The files of one version by their names in its model: those beside the configuration, all in the version's folder, and the inputs of
    its warm-up."""
    if place.folder is None:
        file = place.files[version]
        folder, beginning = file.parent, file.name  # no pattern: a folder may have a thousand models, and each of them looks through it
        return {name: each for name in _names(folder) if name.startswith(beginning) and (each := folder / name).is_file()}
    found = {each.name: each for each in _entries(place.folder) if each.is_file()}
    folder = place.files[version]
    for part, name in ((place.folder / WARMUP, WARMUP), (folder, str(version))):
        if part != place.folder:
            found |= {f"{name}/{each.relative_to(part).as_posix()}": each for each in islice(_below(part), MAX_FILES)}
    return found


def stamps_of(place: Place) -> Stamps:
    """Of all versions of a model: they differ when a file may have changed."""
    found: Stamps = {}
    for version in place.files:
        for path in files_of(place, version).values():
            if (stamp := stamp_of(path)) is not None:
                found[str(path)] = stamp
    return found


class Digests:
    """SHA-256 of files. One that the system says is the same file, of the same size and time, is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}

    def of(self, place: Place, version: int) -> Content:
        """Of all files of one version; '' for one that cannot be read."""
        return {name: self.digest(path) for name, path in sorted(files_of(place, version).items())}

    def digest(self, path: Path) -> str:
        """'' where it cannot be read."""
        stamp = stamp_of(path)
        known = self._known.get(str(path))
        if stamp is None:
            return ""
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
        if len(self._known) >= MAX_KNOWN:  # most are of versions that are gone
            self._known.clear()
        if stamp_of(path) == stamp:  # else somebody writes it just now
            self._known[str(path)] = stamp, digest
        return digest


def _entries(folder: Path) -> Iterator[Path]:
    try:
        return iter([entry for entry in folder.iterdir() if not entry.name.startswith(HIDDEN)])
    except OSError:
        return iter(())


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith(HIDDEN))


def stamp_of(path: Path) -> Stamp | None:
    """What the system says of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):  # a pipe would hold up who reads it
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
