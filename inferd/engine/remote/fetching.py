"""Fetches a model's URL into a verified folder or file on this machine. Other packages import `engine.remote` and refreshing.py, which call
it.

A URL that was fetched before is served from the cache if the store has not changed. If the store cannot be read, the cache serves it with
a warning. Every cached file is compared with its sha256 each time.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.config import without_secrets
from inferd.engine.files.content import sha256_of
from inferd.engine.remote.archive import unpack
from inferd.engine.remote.cache import Cache, FileRecord, nbytes_in, state_of
from inferd.engine.remote.download import ATTEMPTS, download, repeated
from inferd.engine.remote.location import Location
from inferd.engine.remote.names import check_names
from inferd.engine.remote.objects import ObjectSource
from inferd.engine.remote.registry import RegistrySource
from inferd.engine.remote.source import Changed, SourceError
from inferd.engine.remote.until import Until
from inferd.engine.remote.web import WebSource
from inferd.errors import StartError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.engine.remote.cache import Entry, Snapshot
    from inferd.engine.remote.source import Item, Source

GiB = 1 << 30
FEW_ATTEMPTS = 2  # to list a store if there is a cached copy
LOOK_S = 60  # the time limit for that list
STATES = 3  # fetches of a store that changes meanwhile

log = logging.getLogger("inferd.engine")


class StoreError(StartError):
    """A store could not be read. again: a later attempt may succeed."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


@contextmanager
def _named(location: Location) -> Iterator[None]:
    """Adds the URL to errors of a source."""
    try:
        yield
    except SourceError as error:
        raise StoreError(f"models: '{location.shown}': {error}", again=error.again) from None
    except (ValueError, RecursionError) as error:
        why = without_secrets(str(error))
        raise StoreError(f"models: '{location.shown}': the store's response cannot be understood: {why}", again=False) from None


def fetch(url: str, cache: Cache, limit_bytes: int = 64 * GiB, timeout_s: float = 3600, until: Until | None = None) -> Path:
    """Fetches the file or folder of a URL. The path is the same each time; its target is replaced atomically, and no process deletes it
    while this one lives. limit_bytes, timeout_s: of one download. until: a common end, in place of timeout_s. Raises ConfigError and
    StartError, without secrets in their texts."""
    location = Location.of(url)
    until = until or Until(timeout_s)
    with cache.entry(location.key, max(until.left_s, 0)) as entry, _named(location):
        try:
            snapshot = _current(location, cache, entry, limit_bytes, until)
            cache.use(snapshot)
            path = entry.show(snapshot) / location.leaf
            entry.prune(snapshot)
        except OSError as error:
            raise StartError(
                f"models: '{location.shown}': '{cache.folder}' cannot be written: {error.strerror}; make room, or name another folder "
                "(--model-cache)"
            ) from None
    return path


def has_changed(url: str, path: Path, timeout_s: float = LOOK_S) -> bool:
    """Whether the store has changed since `fetch` returned this path. It only lists the store. Raises ConfigError, StoreError."""
    location = Location.of(url)
    until = Until(min(timeout_s, LOOK_S))
    with _named(location):
        return _state(repeated(_source(location, until).list, until, FEW_ATTEMPTS)) != path.parents[1].resolve().name


def _current(location: Location, cache: Cache, entry: Entry, limit_bytes: int, until: Until) -> Snapshot:
    for _ in range(STATES):
        newest = entry.newest()
        try:
            source = _source(location, until)
            with until.at_most(LOOK_S if newest else until.timeout_s):
                items = repeated(source.list, until, FEW_ATTEMPTS if newest else ATTEMPTS)
        except SourceError as error:
            if newest is None:
                raise
            return _kept(location, newest, error)
        _check(items, limit_bytes)
        try:
            return _known(location, entry, source, items) or _fetched(location, cache, entry, source, items, limit_bytes, until)
        except Changed as error:
            log.info("'%s': %s: fetching what is there now", location.shown, error)
    raise SourceError(f"it changed {STATES} times while it was fetched")


def _source(location: Location, until: Until) -> Source:
    if location.scheme == "oci":
        return RegistrySource(location, until)
    return WebSource(location, until) if location.scheme in ("http", "https") else ObjectSource(location, until)


def _state(items: Sequence[Item]) -> str:
    return state_of({item.name: f"{item.nbytes} {item.tag}" for item in items})


def _check(items: Sequence[Item], limit_bytes: int) -> None:
    check_names(item.name for item in items)
    if (total := sum(item.nbytes for item in items)) > limit_bytes:
        raise SourceError(f"it has {total} bytes, and {limit_bytes} may be downloaded (model_download_bytes)")


def _kept(location: Location, newest: Snapshot, error: SourceError) -> Snapshot:
    """Returns the newest cached copy, for a store that cannot be read or no longer has the model. Raises SourceError if it is damaged."""
    if damaged := newest.damaged():
        raise SourceError(f"{error}; and in the cache {damaged[0]!r} is not what was downloaded")
    log.log(
        logging.WARNING if error.again else logging.ERROR,
        *("'%s': %s; the copy in the cache is served", location.shown, error),
        extra=event("model_store_away", url=location.shown, state=newest.folder.name),
    )
    return newest


def _known(location: Location, entry: Entry, source: Source, items: Sequence[Item]) -> Snapshot | None:
    """The cached copy of these items, if there is one and it is undamaged."""
    found = entry.find(_state(items))
    if found is None:
        return None
    damaged = found.damaged()
    if not damaged:
        log.info("'%s': unchanged, from the cache", location.shown, extra=event("model_cached", url=location.shown))
        return found
    log.warning(
        *("'%s': %r in the cache is not what was downloaded: fetching it again", location.shown, damaged[0]),
        extra=event("model_cache_damaged", url=location.shown, files=len(damaged)),
    )
    entry.reopen(found, damaged)
    return None


def _fetched(
    location: Location, cache: Cache, entry: Entry, source: Source, items: Sequence[Item], limit_bytes: int, until: Until
) -> Snapshot:
    new = entry.begin(_state(items))
    archives, files = new / "archives", new / "files"
    folder = files if source.archive is None else archives
    known = _whole(entry, new, items, folder) if source.archive is None else {}
    there_bytes = nbytes_in(folder, new / "parts")
    with cache.room(entry, new, max(sum(item.nbytes for item in items) - there_bytes, 0)):
        digests = download(source, items, folder, until, location.shown, known)
    if source.archive is None:
        records = {item.name: FileRecord(item.nbytes, digests[item.name], item.tag) for item in items}
    else:
        shutil.rmtree(files, ignore_errors=True)
        try:
            unpack([archives / item.name for item in items], source.archive, files / location.leaf, limit_bytes, until)
        except BaseException:
            shutil.rmtree(files, ignore_errors=True)
            raise
        records = {
            str(path.relative_to(files)): FileRecord(path.stat().st_size, sha256_of(path)) for path in files.rglob("*") if path.is_file()
        }
        if not records:
            raise SourceError(
                f"there are no files in /{source.archive} of the artefact" if source.archive else "the archive holds no files"
            )
        shutil.rmtree(archives)
    for folder in (new / "parts", new / "records"):
        shutil.rmtree(folder)
    return entry.commit(new, location.shown, records)


def _whole(entry: Entry, new: Path, items: Sequence[Item], folder: Path) -> dict[str, str]:
    """The sha256 of items that need not be downloaded: undamaged ones of a reopened state, and those in the newest copy."""
    reopened, newest = entry.find(new.name), entry.newest()
    known: dict[str, str] = {}
    for snapshot in filter(None, (reopened, newest)):
        damaged = set(snapshot.damaged()) if snapshot is newest else set()
        for item in items:
            record, path = snapshot.manifest.files.get(item.name), folder / item.name
            if record is None or (record.tag, record.nbytes) != (item.tag, item.nbytes) or item.name in damaged:
                continue
            known[item.name] = record.sha256
            if snapshot is newest and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(newest.files / item.name, path)
    return known
