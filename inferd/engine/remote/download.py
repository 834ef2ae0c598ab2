"""Downloads a source's items into files, and resumes earlier attempts. Pieces are read in parallel and written in order, so that an
incomplete file has the first bytes of the whole. A record beside each file has the number of bytes written and their sha256. A resumed
attempt uses only these bytes, even after a power cut.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from inferd.engine.remote.source import NoRanges, SourceError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from inferd.engine.remote.source import Item, Source
    from inferd.engine.remote.until import Until

PIECE_BYTES = 8 << 20
URLS_AT_ONCE = 8  # fetched at the same time
AT_ONCE = 8  # pieces that are read at the same time, and held in memory
ATTEMPTS = 6  # successive attempts without progress
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 5.0
PROGRESS_S = 5.0
WAITED_S = 10.0

log = logging.getLogger("inferd.engine")

T = TypeVar("T")


def repeated(attempt: Callable[[], T], until: Until, attempts: int = ATTEMPTS) -> T:
    """Calls attempt() until it returns, with growing pauses, while its error may be temporary. Returns its result."""
    pause_s = FIRST_PAUSE_S
    for left in reversed(range(attempts)):
        until.check()
        try:
            return attempt()
        except SourceError as error:
            if not error.again or not left:
                raise
            until.ended.wait(min(pause_s, max(until.left_s, 0)))
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
    raise AssertionError("there is at least one attempt")


def download(
    source: Source, items: Sequence[Item], folder: Path, until: Until, shown: str, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Downloads every item into a file of its name in the folder, and returns the sha256 of each. Folders beside it hold incomplete files
    (`parts`) and records of them (`records`). known: sha256 of files that may be in the folder already. Raises SourceError, OSError."""
    parts, records = folder.with_name("parts"), folder.with_name("records")
    parts.mkdir(exist_ok=True)
    records.mkdir(exist_ok=True)
    files = []
    for item in items:
        name = hashlib.sha256(item.name.encode()).hexdigest()
        files.append(_File(folder / item.name, parts / name, records / name, item, (known or {}).get(item.name, "")))
    progress = _Progress(shown, sum(item.nbytes for item in items), sum(file.nbytes for file in files))
    try:
        for file in files:
            if file.nbytes == file.item.nbytes:
                file.finish()  # an empty file, or one that was complete before
        while left := [file for file in files if not file.sha256]:
            try:
                (_side_by_side if source.ranges else _one_by_one)(source, left, until, progress)
            except NoRanges:
                if not source.ranges:
                    raise
                source.ranges = False
                until.ended.clear()
    finally:
        for file in files:
            file.close()
    progress.end()
    return {file.item.name: file.sha256 for file in files}


class _Piece(NamedTuple):
    file: _File
    first: int
    last: int


def _side_by_side(source: Source, files: Sequence[_File], until: Until, progress: _Progress) -> None:
    pieces = (
        _Piece(file, first, min(first + PIECE_BYTES, file.item.nbytes))
        for file in files
        for first in range(file.nbytes, file.item.nbytes, PIECE_BYTES)
    )
    waiting: deque[tuple[_Piece, Future[list[bytes]]]] = deque()
    try:
        while True:
            waiting.extend((piece, _begun(partial(_read, source, piece, until))) for piece in islice(pieces, AT_ONCE - len(waiting)))
            if not waiting:
                return
            piece, future = waiting.popleft()
            try:
                content = future.result(max(until.left_s, 0))
            except TimeoutError:
                until.check()
                raise
            for part in content:
                piece.file.append(part)
            piece.file.record()
            progress.add(piece.last - piece.first)
            if piece.last == piece.file.item.nbytes:
                piece.file.finish()
    finally:
        if waiting:
            until.ended.set()


def _begun(work: Callable[[], T]) -> Future[T]:
    """Starts the work on a thread that does not keep the process alive, unlike those of a ThreadPoolExecutor."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="inferd-download", daemon=True).start()
    return future


def side_by_side(works: Sequence[Callable[[], T]], tell: Callable[[Sequence[int]], None]) -> list[T]:
    """The results of the works in their order; URLS_AT_ONCE run at a time. tell(indices): called every WAITED_S with the works that still
    run. Raises the error of the first that failed without waiting for the others, which end with the process."""
    slots = threading.BoundedSemaphore(URLS_AT_ONCE)

    def run(work: Callable[[], T]) -> T:
        with slots:
            return work()

    futures = [_begun(partial(run, work)) for work in works]
    while wait(futures, WAITED_S, FIRST_EXCEPTION).not_done and not any(future.done() and future.exception() for future in futures):
        tell([at for at, future in enumerate(futures) if not future.done()])
    for future in futures:
        if future.done():
            future.result()
    return [future.result() for future in futures]


def _read(source: Source, piece: _Piece, until: Until) -> list[bytes]:
    """All bytes of a piece. Each attempt continues where the one before was cut off."""
    got: list[bytes] = []
    at = piece.first

    def attempt() -> int:
        nonlocal at
        before = at
        try:
            for part in source.read(piece.file.item, at, piece.last):
                until.check()
                got.append(part)
                at += len(part)
                if at > piece.last:
                    raise SourceError("the store sent more of the file than was asked for")
        except SourceError as error:
            if not error.again or at == before or at > piece.last:
                raise
        if at == before:
            raise SourceError("the connection was closed before all bytes had come", again=True)
        return at

    while at < piece.last:
        repeated(attempt, until)
    return got


def _one_by_one(source: Source, files: Sequence[_File], until: Until, progress: _Progress) -> None:
    """For a source that sends whole files only: an incomplete file begins anew."""

    def attempt() -> None:
        progress.add(-file.nbytes)
        file.restart()
        for part in source.read(file.item, 0, file.item.nbytes):
            until.check()
            if file.nbytes + len(part) > file.item.nbytes:
                raise SourceError("the store sent more of the file than it has")
            file.append(part)
            progress.add(len(part))
        if file.nbytes < file.item.nbytes:
            raise SourceError("the connection was closed before all bytes had come", again=True)

    for file in files:
        repeated(attempt, until)
        file.finish()


class _File:
    """One item's file, in `partial` until it is complete."""

    def __init__(self, path: Path, partial: Path, record: Path, item: Item, known: str) -> None:
        """known: the sha256 of a complete file at `path`, if there is no record of it."""
        self.item = item
        self._path, self._partial, self._record = path, partial, record
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self.sha256 = ""  # set once it is complete
        self.nbytes = 0
        if path.is_file():
            path.rename(partial)
        elif not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        if partial.is_file():
            self._take(*(_recorded(record) or (item.nbytes, known)))

    def _take(self, nbytes: int, sha256: str) -> None:
        """Continues with the bytes of an earlier attempt if they match its record, else begins anew."""
        if nbytes <= self.item.nbytes:
            with self._partial.open("rb") as file:
                while content := file.read(min(1 << 20, nbytes - self.nbytes)):
                    self._hash.update(content)
                    self.nbytes += len(content)
        if (self.nbytes, self._hash.hexdigest()) == (nbytes, sha256):
            if self._partial.stat().st_size > nbytes:
                os.truncate(self._partial, nbytes)
        else:
            self.restart()

    def restart(self) -> None:
        self.close()
        self._partial.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)
        self._hash, self.nbytes = hashlib.sha256(), 0

    def append(self, content: bytes) -> None:
        if self._file is None:
            self._file = self._partial.open("ab", buffering=0)
        view: Any = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(content)
        self.nbytes += len(content)

    def record(self) -> None:
        """Records the bytes written so far, after which the next attempt continues."""
        new = self._record.with_suffix(".new")
        new.write_text(f"{self.nbytes} {self._hash.hexdigest()}")
        new.replace(self._record)

    def finish(self) -> None:
        """Moves the complete file to its path. Raises SourceError if its sha256 is not the source's."""
        self.close()
        digest = self._hash.hexdigest()
        if self.item.sha256 and digest != self.item.sha256:
            self.restart()
            raise SourceError(
                f"'{self.item.name}' has the sha256 {digest}, and the source says {self.item.sha256}: it was damaged, or replaced"
            )
        if not self.item.nbytes:
            self._partial.touch()
        self.record()
        self._partial.rename(self._path)
        self.sha256 = digest

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _recorded(record: Path) -> tuple[int, str] | None:
    try:
        nbytes, sha256 = record.read_text().split()
        return int(nbytes), sha256
    except (OSError, ValueError):
        return None


class _Progress:
    """Logs the progress of a download from time to time."""

    def __init__(self, shown: str, nbytes: int, there: int) -> None:
        self._shown, self._nbytes, self._done = shown, nbytes, there
        self._began_s = self._told_s = time.monotonic()
        resumed = f", of which {mib(there)} are here from an earlier attempt" if there else ""
        log.info(
            "'%s': downloading %s%s", shown, mib(nbytes), resumed, extra=event("model_download", url=shown, bytes=nbytes, done_bytes=there)
        )

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_S:
            self._told_s = now_s
            log.info(
                *("'%s': %s of %s downloaded", self._shown, mib(self._done), mib(self._nbytes)),
                extra=event("model_download_progress", url=self._shown, bytes=self._nbytes, done_bytes=self._done),
            )

    def end(self) -> None:
        took_s = time.monotonic() - self._began_s
        log.info(
            *("'%s': downloaded in %.1f s", self._shown, took_s),
            extra=event("model_downloaded", url=self._shown, bytes=self._nbytes, duration_ms=round(1000 * took_s)),
        )


def mib(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):,.1f} MiB"
