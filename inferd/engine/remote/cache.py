"""Fetched models on this machine: a folder for each URL, and in it a folder for each state of the store that was fetched.

    KEY/lock                 held by the process that fetches this URL
    KEY/current              a link to the state that was fetched last; paths of models go through it
    KEY/STATE/manifest.json  size, sha256 and tag of every file
    KEY/STATE/lock           held, shared, by every process that uses these files; its time is that of the last use
    KEY/STATE/files/...      the files
    KEY/STATE.new/...        an incomplete state: the next attempt continues with it

A state appears by one rename, and its files never change then. Never in here: the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from inferd.engine.files.content import sha256_of
from inferd.engine.files.kept_file import sync_path
from inferd.errors import StartError

log = logging.getLogger("inferd.engine")

LOCK_PAUSE_S = 0.1  # between two attempts to get a lock that another process has
NEW = ".new"
CURRENT = "current"
STATE_DIGITS = 24
KEPT_STATES = 2  # of a URL that a process uses


_STATE = re.compile(rf"[0-9a-f]{{{STATE_DIGITS}}}({re.escape(NEW)})?")


class FileRecord(msgspec.Struct, frozen=True):
    """One file of a manifest. tag: the source's tag of the item; '' for an unpacked file."""

    nbytes: int
    sha256: str
    tag: str = ""


class Manifest(msgspec.Struct, frozen=True):
    url: str
    fetched: float  # seconds since the epoch
    files: dict[str, FileRecord]


class Snapshot(NamedTuple):
    """One complete state of a URL."""

    folder: Path
    manifest: Manifest

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def damaged(self) -> list[str]:
        """The files that have changed since the download."""
        return [name for name, record in self.manifest.files.items() if not _is(self.files / name, record)]


class Entry(NamedTuple):
    """The folder of one URL, while this process holds its lock."""

    folder: Path

    def newest(self) -> Snapshot | None:
        return max(self.snapshots(), key=lambda snapshot: snapshot.manifest.fetched, default=None)

    def show(self, snapshot: Snapshot) -> Path:
        """Makes `current` a link to this state. Returns the path of its files through the link."""
        current, link = self.folder / CURRENT, self.folder / f"{CURRENT}{NEW}"
        if not current.is_symlink() or os.readlink(current) != snapshot.folder.name:
            link.unlink(missing_ok=True)
            link.symlink_to(snapshot.folder.name)
            link.replace(current)
        return current / "files"

    def prune(self, kept: Snapshot) -> None:
        """Deletes other states, except those that a process uses."""
        for snapshot in self.snapshots():
            if snapshot.folder != kept.folder:
                _delete(snapshot.folder)

    def snapshots(self) -> list[Snapshot]:
        there = (path for path in self.folder.iterdir() if path.suffix != NEW and not path.is_symlink())
        return [found for path in there if (found := _snapshot(path)) is not None]

    def find(self, state: str) -> Snapshot | None:
        return _snapshot(self.folder / state)

    def begin(self, state: str) -> Path:
        """Makes the folder for the incomplete files of a state, or returns it. Removes such folders of other states."""
        new = self.folder / f"{state}{NEW}"
        for path in self.folder.glob(f"*{NEW}"):
            if path != new:
                shutil.rmtree(path, ignore_errors=True)
        new.mkdir(exist_ok=True)
        return new

    def reopen(self, snapshot: Snapshot, damaged: Sequence[str]) -> None:
        """Begins to fetch a state again, with its undamaged files."""
        new = self.begin(snapshot.folder.name)
        shutil.rmtree(new)
        snapshot.folder.rename(new)
        for name in damaged:
            (new / "files" / name).unlink(missing_ok=True)

    def commit(self, new: Path, url: str, files: Mapping[str, FileRecord]) -> Snapshot:
        manifest = Manifest(url, time.time(), dict(files))
        with (new / "manifest.json").open("wb") as file:
            file.write(msgspec.json.encode(manifest))
        for path in (*(path for path in new.rglob("*") if not path.is_symlink()), new):
            sync_path(path)  # a power cut after the rename must not leave a truncated file
        folder = new.with_name(new.name.removesuffix(NEW))
        shutil.rmtree(folder, ignore_errors=True)  # a folder whose manifest cannot be read, so that find() has not found it
        new.rename(folder)
        sync_path(self.folder)
        return Snapshot(folder, manifest)


class Cache:
    """All fetched models in one folder. limit_bytes: of them together; 0: no limit."""

    def __init__(self, folder: Path, limit_bytes: int = 0) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes

    @contextmanager
    def entry(self, key: str, timeout_s: float) -> Iterator[Entry]:
        """One URL's folder. One process at a time has it; the others wait. Raises StartError."""
        folder = self.folder / key
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"model_cache: '{folder}' cannot be written: {error.strerror}; name a folder that this user may write (--model-cache)"
            ) from None
        try:
            end_s = time.monotonic() + timeout_s
            told = False
            while not _locked(lock):
                if not told:
                    log.info("another process fetches into '%s': waiting for it", folder)
                    told = True
                if time.monotonic() > end_s:
                    raise StartError(f"model_cache: another process has fetched into '{folder}' for more than {timeout_s:g} s")
                time.sleep(LOCK_PAUSE_S)
            yield Entry(folder)
        finally:
            os.close(lock)

    def use(self, snapshot: Snapshot) -> None:
        """Keeps the files of this state until the process ends or uses two newer states of this URL. Loads may still read the state
        before."""
        with _lock:
            if snapshot.folder not in _used:
                lock = os.open(snapshot.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(lock, fcntl.LOCK_SH)
                _used[snapshot.folder] = lock
            os.utime(snapshot.folder / "lock")
            for folder in [folder for folder in _used if folder.parent == snapshot.folder.parent][:-KEPT_STATES]:
                os.close(_used.pop(folder))

    @contextmanager
    def room(self, entry: Entry, new: Path, nbytes: int) -> Iterator[None]:
        """Reserves so many more bytes for the folder `new` of this URL, inside the block. Deletes the least recently used states, except
        those that a process uses. Raises StartError where that is not enough."""
        with _lock:
            self._make_room(entry, nbytes)
            _promised[new] = nbytes_in(new) + nbytes
        try:
            yield
        finally:
            with _lock:
                del _promised[new]

    def _make_room(self, entry: Entry, nbytes: int) -> None:
        for folder in sorted(self._states(), key=lambda path: (path.parent == entry.folder, _last_use(path))):
            if self._fits(nbytes):
                return
            if folder.parent == entry.folder:
                if not folder.name.endswith(NEW):
                    _delete(folder)
            else:
                _evict(folder)
        if self._fits(nbytes):
            return
        free_bytes = shutil.disk_usage(self.folder).free
        limit = f", and of {self.limit_bytes} (model_cache_bytes) {nbytes_in(*self._states())} are in use" if self.limit_bytes else ""
        raise StartError(
            f"model_cache: {nbytes} bytes are to be downloaded to '{self.folder}', where {free_bytes} are free{limit}: make room, or name "
            "another folder (--model-cache)"
        )

    def _fits(self, nbytes: int) -> bool:
        nbytes += sum(max(whole - nbytes_in(new), 0) for new, whole in _promised.items())
        if shutil.disk_usage(self.folder).free < nbytes:
            return False
        return not self.limit_bytes or nbytes_in(*self._states()) + nbytes <= self.limit_bytes

    def _states(self) -> list[Path]:
        """The folders of all states, complete or not. The cache's folder may hold other things, too."""
        return [path for path in self.folder.glob("*/*/") if _STATE.fullmatch(path.name) and (path.parent / "lock").is_file()]


_lock = threading.Lock()  # of these two
_used: dict[Path, int] = {}  # states that this process uses, with the descriptors of their locks, the newest last
_promised: dict[Path, int] = {}  # folders that other threads download into, with the bytes that they will hold


def release() -> None:
    """Releases all states that this process uses, in any cache."""
    with _lock:
        while _used:
            os.close(_used.popitem()[1])


def default_folder() -> Path:
    """The user's cache folder, else the machine's."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "inferd" / "models"
    home = Path(os.environ.get("HOME") or "/")
    return (home / ".cache" if home != Path("/") and os.access(home, os.W_OK) else Path("/var/cache")) / "inferd" / "models"


def state_of(parts: Mapping[str, str]) -> str:
    """A name for the list of a source: a hash of its names and tags."""
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()[:STATE_DIGITS]


def nbytes_in(*folders: Path) -> int:
    """The bytes of all files below the folders; a file with several names counts once. Others may move or delete them meanwhile."""
    found: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):
                    status = os.lstat(os.path.join(path, name))
                    if stat.S_ISREG(status.st_mode):
                        found[status.st_dev, status.st_ino] = status.st_size
    return sum(found.values())


def _snapshot(folder: Path) -> Snapshot | None:
    try:
        return Snapshot(folder, msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest))
    except (OSError, msgspec.MsgspecError):
        return None


def _is(path: Path, record: FileRecord) -> bool:
    try:
        return path.stat().st_size == record.nbytes and sha256_of(path) == record.sha256
    except OSError:
        return False


def _last_use(folder: Path) -> float:
    try:
        return (folder / "lock").stat().st_mtime
    except OSError:
        return 0.0


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _evict(folder: Path) -> bool:
    """Deletes a state of another URL, unless a process fetches that."""
    lock = os.open(folder.parent / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        return _locked(lock) and _delete(folder)
    finally:
        os.close(lock)


def _delete(folder: Path) -> bool:
    """Deletes a state, unless a process uses it. The caller has the lock of its URL."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _locked(lock):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(lock)
