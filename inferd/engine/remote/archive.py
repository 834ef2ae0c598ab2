"""Unpacks tar archives, plain or compressed with gzip, into a folder. Rejects all but files and folders: a link could lead out of it. Never
in here: where archives come from.
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

    from inferd.engine.remote.until import Until

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
DELETED = ".wh."  # begins the name of an entry by which a later layer deletes an earlier layer's file
EMPTIED = ".wh..wh..opq"  # by this entry it deletes the whole folder
MAX_HEADER_BYTES = 1 << 20  # of one entry, with its PAX headers
MAX_NAMES = 100_000  # files and folders of all archives of one URL


def unpack(archives: Iterable[Path], folder: str, target: Path, limit_bytes: int, until: Until) -> None:
    """Unpacks the files below `folder` in the archives, '' for all of them, into `target`. Later archives replace files of earlier ones.
    limit_bytes: of all decompressed bytes. Raises SourceError, OSError."""
    target.mkdir(parents=True)
    left_bytes, left_names = limit_bytes, MAX_NAMES
    for archive in archives:
        with archive.open("rb") as raw:
            begin = raw.read(4)
            raw.seek(0)
            if begin == ZSTD:
                raise SourceError("an archive is compressed with zstd, which is not supported: compress it with gzip")
            content = _Limited(gzip.GzipFile(fileobj=raw) if begin[:2] == GZIP else raw, left_bytes, limit_bytes, until)
            try:
                with tarfile.open(fileobj=content, mode="r|") as tar:
                    while (member := content.next_member(tar)) is not None:
                        left_names -= _take(tar, member, folder, target)
                        if left_names < 0:
                            raise SourceError(f"its archives hold more than {MAX_NAMES} files and folders")
            except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError, RecursionError) as error:
                raise SourceError(f"an archive cannot be read: {error}") from None
            left_bytes = content.left_bytes


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str, target: Path) -> int:
    """Unpacks one entry. Returns how many files and folders it may have made."""
    name = member.name.removeprefix("./").rstrip("/")
    if name in ("", "."):
        return 0
    check_name(name)
    if folder:
        inside, _, name = name.partition("/")
        if inside != folder or not name:
            return 0
    path = target / name
    try:
        if path.name == EMPTIED:
            shutil.rmtree(path.parent, ignore_errors=True)
        elif path.name.startswith(DELETED):
            deleted = path.name.removeprefix(DELETED)
            check_name(deleted)
            _remove(path.with_name(deleted))
        elif member.isdir():
            path.mkdir(parents=True, exist_ok=True)
        elif member.isreg() and not member.issparse():
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(path)
            with path.open("xb") as file:
                shutil.copyfileobj(_opened(tar, member), file)
        else:
            raise SourceError(
                f"'{PurePosixPath(folder, name)}' in an archive is a link, a device or a sparse file: put the file itself there"
            )
    except (FileExistsError, NotADirectoryError):
        raise SourceError(f"'{PurePosixPath(folder, name)}' in an archive needs a folder where the archive has a file") from None
    return 1 + name.count("/")


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
    """A file that is read up to a limit: a small archive may hold very much."""

    def __init__(self, file: Any, left_bytes: int, limit_bytes: int, until: Until) -> None:
        self._file, self.left_bytes, self._limit_bytes, self._until = file, left_bytes, limit_bytes, until
        self._read_bytes = 0
        self._header_ends: int | None = MAX_HEADER_BYTES  # while a header is read; tarfile reads one when it opens an archive

    def read(self, nbytes: int | None = -1) -> bytes:
        self._until.check()
        if self._header_ends is not None and self._read_bytes > self._header_ends:
            raise SourceError(f"an entry's header in an archive is larger than {MAX_HEADER_BYTES >> 20} MiB")
        content: bytes = self._file.read(nbytes)
        self._read_bytes += len(content)
        self.left_bytes -= len(content)
        if self.left_bytes < 0:
            raise self._too_much()
        return content

    def next_member(self, tar: Any) -> tarfile.TarInfo | None:
        """The next entry. Limits its header and size: tarfile trusts both, and keeps all headers in memory."""
        self._header_ends = tar.offset + MAX_HEADER_BYTES
        member: tarfile.TarInfo | None = tar.next()
        self._header_ends = None
        tar.members.clear()
        tar.pax_headers.clear()
        if member is not None and not 0 <= member.size <= self.left_bytes + tar.fileobj.bufsize:
            raise self._too_much()
        return member

    def _too_much(self) -> SourceError:
        return SourceError(f"its archives hold more than {self._limit_bytes} bytes (model_download_bytes)")
