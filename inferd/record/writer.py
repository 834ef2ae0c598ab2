"""Segments of a record: Arrow IPC streams in one folder, each begun anew after so many bytes or so long.

A stream that was cut off keeps all of its whole batches. So a process that is killed loses only the batch that it had not written.

The segments of all processes together have a limit, beyond which the oldest ones are deleted. A segment is locked (flock) as long as it
is written, and no process deletes a locked one. So the open segments may together exceed the limit.

A write that fails (a full disk) costs its batch. The segment is then cut behind its last whole batch, and a second later the next batch
begins a new one. Not for several threads.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd._core.base.idle_thread import IdleThread
from inferd.errors import StartError
from inferd.log import event
from inferd.record.form import SUFFIX, arrow, batch_of, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd._core.codec.columns import Columns

log = logging.getLogger(__name__)

RETRY_S = 1.0  # after a write that failed
OPENED = os.O_RDWR | os.O_CLOEXEC  # NFS locks only what is open for writing


class Writer:
    """folder: is made if it is not there, for its owner alone. segment_bytes, segment_s: a segment that is as large or as old ends.
    limit_bytes: of all segments; 0: none. clock: monotonic seconds. idle: the thread that writes. Raises StartError where the folder
    cannot be written to."""

    def __init__(
        self,
        folder: str | Path,
        *,
        segment_bytes: int,
        segment_s: float,
        limit_bytes: int = 0,
        changed: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.idle = Path(folder), IdleThread()
        self.written_bytes = self.failures = 0
        self._segment_bytes, self._segment_s, self._limit_bytes, self._clock = segment_bytes, segment_s, limit_bytes, clock
        self._schema = schema_of(changed)
        self._path: Path | None = None
        self._file: _File | None = None
        self._stream: Any = None
        self._whole_bytes = 0  # of the segment, up to its last whole batch
        self._number = 0
        self._began_s = self._retry_s = 0.0
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)  # clients' data
            probe = self.folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StartError(f"record: cannot write into the folder {str(folder)!r}: {error.strerror}; choose another folder") from None

    def write(self, columns: Columns) -> bool:
        """One batch, which the kernel has then. False: it is lost."""
        if self._file is None and self._clock() < self._retry_s:
            return False
        try:
            file = self._file or self._begin()
            self._stream.write_batch(batch_of(columns, self._schema))
            file.write_parts()
            whole_bytes = file.nbytes
        except Exception as error:
            self._fail(error)
            return False
        self.written_bytes += whole_bytes - self._whole_bytes
        self._whole_bytes = whole_bytes
        if whole_bytes >= self._segment_bytes:
            self.end_segment()
        return True

    def look(self) -> None:
        """Ends a segment that is old. Call it now and then."""
        if self._file is not None and self._clock() - self._began_s >= self._segment_s:
            self.end_segment()

    def end_segment(self) -> None:
        """The next batch begins another one."""
        if self._file is None:
            return
        try:
            self._stream.close()
            self._file.write_parts()
        except OSError as error:
            self._fail(error)
        self._forget()
        self._remove_oldest()

    def _begin(self) -> _File:
        pa = arrow()
        self.folder.mkdir(0o700, parents=True, exist_ok=True)  # somebody may have removed it
        self._number += 1
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06}Z-{os.getpid()}-{self._number:04}{SUFFIX}"
        self._path = self.folder / f".{name}"  # hidden until it is locked
        self._whole_bytes, self._began_s = 0, self._clock()
        self._file = file = _File(self._path, self.idle)
        _lock(file.descriptor)
        self._path = self._path.rename(self.folder / name)
        self._stream = pa.ipc.new_stream(pa.PythonFile(file, "w"), self._schema)
        return file

    def _forget(self) -> None:
        """The segment is closed."""
        if self._file is not None:
            self._file.close()
        self._path = self._file = self._stream = None

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        self._retry_s = self._clock() + RETRY_S
        path = self._path
        if self._stream is not None:
            self._stream.close()  # into the file that is forgotten
        self._forget()
        if path is not None:
            with suppress(OSError):
                if self._whole_bytes:
                    os.truncate(path, self._whole_bytes)
                else:
                    path.unlink(missing_ok=True)
        said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        told = "record: a batch cannot be written into %s and is lost: %s; requests are served as before"
        log.error(told, self.folder, said, extra=event("record_failed"))
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        """Until all segments together are within the limit. The newest one stays, and so do those that are written."""
        if not self._limit_bytes:
            return
        sizes = []
        for path in segments_of(self.folder):
            with suppress(OSError):
                sizes.append((path, path.stat().st_size))
        total = sum(size for _, size in sizes)
        for path, size in sizes[:-1]:
            if total <= self._limit_bytes:
                return
            with suppress(OSError):
                if _remove(path):
                    total -= size
                    log.info("record: deleted the segment %s: the record was larger than record_limit_bytes", path.name)


class _File:
    """A file object for pyarrow: gathers the parts of a batch, without a copy, until they are written."""

    closed = False

    def __init__(self, path: Path, idle: IdleThread) -> None:
        self._idle = idle
        self.descriptor = os.open(path, OPENED | os.O_CREAT | os.O_EXCL, 0o600)  # clients' data, also in a folder that others read
        try:
            self._direct = os.open(path, OPENED | os.O_DIRECT)
        except OSError:  # this file system knows no such thing
            self._direct = -1
        self._parts: list[Any] = []
        self.nbytes = 0

    def write(self, part: Any) -> int:
        self._parts.append(part)
        return len(part)

    def flush(self) -> None:
        """pyarrow calls it, and need not wait."""

    def write_parts(self) -> None:
        parts, self._parts = self._parts, []
        self._idle.write(self.descriptor, self._direct, self.nbytes, parts)
        self.nbytes += sum(len(part) for part in parts)

    def close(self) -> None:
        """Drops the parts that were not written."""
        self._parts = []
        os.close(self.descriptor)
        if self._direct >= 0:
            os.close(self._direct)


def _lock(descriptor: int) -> bool:
    """False: somebody else writes this segment. A file system without locks has none to respect."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _remove(path: Path) -> bool:
    """Deletes a segment that nobody writes. Raises OSError."""
    descriptor = os.open(path, OPENED)
    try:
        if _lock(descriptor):
            path.unlink()
            return True
        return False
    finally:
        os.close(descriptor)


def segments_of(folder: Path) -> list[Path]:
    """Oldest first, by their names."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
