"""The files that a version is made of, and whether they are still the same: by their bytes, not by their times.

A link that points elsewhere, as Kubernetes swaps those of a ConfigMap, is another file; the same bytes written again are the same
version. Never in here: when files are compared, and what a change does.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from bisect import bisect_left
from functools import lru_cache
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from inferd.engine.files.roots import HIDDEN, entries
from inferd.engine.graph.onnx_file import external_files
from inferd.engine.graph.weights import weights_in
from inferd.system.memory_limit import memory_limit_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.engine.files.places import Place

MAX_FILES = 10_000  # files of one folder that belong to a version; further ones are ignored
MAX_GRAPH_BYTES = 256 << 20  # a larger ONNX file holds its weights itself, and is not searched for their files
LARGE_BYTES = 1 << 30  # a larger file is read only if it fits into the memory limit
BLOCK_BYTES = 256 << 10  # read at once
MAX_KNOWN = 100_000  # digests kept
LATELY_NS = 10 * 10**9  # a folder's time of change may be as coarse; some file systems count whole seconds
_NUMBER = re.compile("[1-9][0-9]*", re.ASCII)
_SIZE = 2  # its index in a Stamp

Stamp: TypeAlias = tuple[int, ...]
Stamps: TypeAlias = dict[str, Stamp]  # each file's stamp (see stamp_of), by path
Content: TypeAlias = dict[str, str]  # the SHA-256 of each file, by its path in the model's folder


def files_of(place: Place, version: int) -> dict[str, Path]:
    """The files of one version by their names in its model: its own, and those that all versions share."""
    return _shared(place) | _own(place, version)


def _shared(place: Place) -> dict[str, Path]:
    """The configuration and the files beside it, also in folders such as `warmup`. Folders of other versions do not count."""
    found: dict[str, Path] = {}
    for entry in () if place.folder is None else entries(place.folder):
        if entry.is_file():
            found[entry.name] = entry
        elif not entry.name.isdigit() and not any(entry.glob("*.onnx")):
            found |= _named_below(entry, entry.name)
    return found


def _own(place: Place, version: int) -> dict[str, Path]:
    """The version's folder; or a single file, its weights, and other files whose names begin with its name."""
    path = place.files[version]
    if path == place.folder:
        return {}
    if path.suffix != ".onnx":
        return _named_below(path, str(version))
    folder = path.parent
    beside = {name: each for name in _beginning_with(path.name, folder) if (each := folder / name).is_file()}
    return beside | weights_of(path)


def weights_of(file: Path) -> dict[str, Path]:
    """Files with weights of an ONNX file, by the names that it has for them. None if it cannot be read: a load reports that."""
    return weights_in(file.parent, _weight_names(file, stamp_of(file)), file)


@lru_cache(maxsize=4096)
def _weight_names(file: Path, stamp: Stamp | None) -> tuple[str, ...]:
    """Read once, until the file changes."""
    if stamp is None or stamp[_SIZE] > MAX_GRAPH_BYTES:
        return ()
    try:
        return tuple(sorted(external_files(file)))
    except (OSError, ValueError, IndexError, RecursionError):
        return ()


def stamps_by_version(place: Place) -> dict[int, Stamps]:
    """Stamps of the files of each version: they differ when a file may have changed."""
    shared = _shared(place).values()
    return {
        version: {str(path): stamp for path in (*shared, *_own(place, version).values()) if (stamp := stamp_of(path)) is not None}
        for version in place.files
    }


def stamps_of(place: Place) -> Stamps:
    """Stamps of all versions of a model. Folders whose names are no versions count by name; an empty version folder does not."""
    found: Stamps = {name: () for name in place.odd if not _NUMBER.fullmatch(name)}
    return found | {path: stamp for stamps in stamps_by_version(place).values() for path, stamp in stamps.items()}


class Digests:
    """SHA-256 of files. A file is read again only when its stamp has changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}

    def of(self, place: Place, version: int) -> Content:
        """Digests of all files of one version; '' for a file that cannot be read."""
        return {name: self.digest(path) for name, path in sorted(files_of(place, version).items())}

    def digest(self, path: Path) -> str:
        """'' for a file that cannot be read, or is too large for the memory limit."""
        stamp = stamp_of(path)
        known = self._known.get(str(path))
        if stamp is None or (stamp[_SIZE] > LARGE_BYTES and stamp[_SIZE] > memory_limit_bytes()):
            return ""
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            digest = sha256_of(path)
        except OSError:
            return ""
        if len(self._known) >= MAX_KNOWN:  # most are of versions that are gone
            self._known.clear()
        if stamp_of(path) == stamp:  # else somebody is writing it
            self._known[str(path)] = stamp, digest
        return digest


def sha256_of(path: Path) -> str:
    """Reads a regular file up to the size that the system reports, for some files in /proc never end. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        digest, left = hashlib.sha256(), found.st_size
        block = memoryview(bytearray(min(left, BLOCK_BYTES)))
        while left and (count := file.readinto(block[:left])):
            digest.update(block[:count])
            left -= count
    return digest.hexdigest()


def _beginning_with(beginning: str, folder: Path) -> Iterator[str]:
    names = _names(folder)
    yield from takewhile(lambda name: name.startswith(beginning), islice(names, bisect_left(names, beginning), None))


def _names(folder: Path) -> list[str]:
    """Sorted. A folder may have a thousand models, each of which looks through it: one that has not changed lately is read once."""
    try:
        changed_ns = os.stat(folder).st_mtime_ns
        lately = not 0 < changed_ns < time.time_ns() - LATELY_NS
        return sorted(os.listdir(folder)) if lately else _kept_names(str(folder), changed_ns)
    except OSError:
        return []


@lru_cache(maxsize=16)
def _kept_names(folder: str, changed_ns: int) -> list[str]:
    """changed_ns: as a key. Raises OSError."""
    return sorted(os.listdir(folder))


def _named_below(folder: Path, name: str) -> dict[str, Path]:
    return {f"{name}/{each.relative_to(folder).as_posix()}": each for each in islice(_below(folder), MAX_FILES)}


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith(HIDDEN))


def stamp_of(path: Path | str) -> Stamp | None:
    """Device, inode, size and times of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in its name
        return None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe could wait forever
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
