"""Tar archives, plain or compressed with gzip, into a folder. Only files and folders are taken: a link could lead out of it, and a device
is none. Never in here: where archives come from.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from inferd.engine.remote.names import check_name
from inferd.engine.remote.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["unpack"]

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
DELETED = ".wh."  # begins the name of an entry by which a later layer deletes what an earlier one brought
EMPTIED = ".wh..wh..opq"


def unpack(archives: Iterable[Path], folder: str, target: Path, limit_bytes: int) -> None:
    """The files below `folder` in the archives, '' for all of them, into `target`; a later archive replaces what an earlier one brought.
    limit_bytes: of all that is decompressed. Raises SourceError, OSError."""
    target.mkdir(parents=True)
    left_bytes = limit_bytes
    for archive in archives:
        with archive.open("rb") as raw:
            begin = raw.read(4)
            raw.seek(0)
            if begin == ZSTD:
                raise SourceError("an archive is compressed with zstd, which is not supported: compress it with gzip")
            content = _Limited(gzip.GzipFile(fileobj=raw) if begin[:2] == GZIP else raw, left_bytes, limit_bytes)
            try:
                with tarfile.open(fileobj=content, mode="r|") as tar:
                    for member in tar:
                        _take(tar, member, folder, target)
            except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise SourceError(f"an archive cannot be read: {error}") from None
            left_bytes = content.left_bytes


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str, target: Path) -> None:
    name = member.name.removeprefix("./").rstrip("/")
    if name in ("", "."):
        return
    check_name(name)
    if folder:
        inside, _, name = name.partition("/")
        if inside != folder or not name:
            return
    path = target / name
    if path.name == EMPTIED:
        shutil.rmtree(path.parent, ignore_errors=True)
    elif path.name.startswith(DELETED):
        _remove(path.with_name(path.name.removeprefix(DELETED)))
    elif member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.isreg():
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(path)
        with path.open("xb") as file:
            shutil.copyfileobj(_opened(tar, member), file)
    else:
        raise SourceError(f"'{PurePosixPath(folder, name)}' in an archive is a link or a device: put the file itself there")


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None, "a regular file has content"
    return file


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class _Limited(io.RawIOBase):
    """A file of which no more than a limit is read: a small archive may hold very much."""

    def __init__(self, file: Any, left_bytes: int, limit_bytes: int) -> None:
        self._file, self.left_bytes, self._limit_bytes = file, left_bytes, limit_bytes

    def read(self, nbytes: int | None = -1) -> bytes:
        content: bytes = self._file.read(nbytes)
        self.left_bytes -= len(content)
        if self.left_bytes < 0:
            raise SourceError(f"its archives hold more than {self._limit_bytes} bytes (model_download_bytes)")
        return content
