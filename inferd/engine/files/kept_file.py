"""A small file of state that several processes read and change: replaced as a whole, under a lock of its folder.

Never in here: the content of the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 16 << 20


class KeptFile:
    """The file of a table. path: None: there is no file, and a restart forgets the table."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def begin(self) -> None:
        """Called when the server starts: removes temporary files of killed writers."""
        if self.path is not None and self.path.parent.is_dir():
            with self.locked():
                remove_left(self.path)

    def locked(self) -> AbstractContextManager[None]:
        """Keeps other processes from changing the table inside the block, if the file system has locks."""
        return nullcontext() if self.path is None else locked(self.path.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes that call this from the folder inside the block, if the file system has locks."""
    descriptor = -1
    try:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Replaces the file atomically, even if the process or the machine crashes meanwhile. Raises OSError."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    with suppress(OSError):  # not every file system can write a folder
        sync_path(path.parent)


def append(path: Path, line: bytes, *, sync: bool = True) -> None:
    """Adds a line. sync: wait until the disk has it. Raises OSError; for a file that is not regular, such as a FIFO, at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    with open(descriptor, "ab") as file:
        _check_regular(descriptor)
        file.write(line)
        file.flush()
        if sync:
            os.fsync(descriptor)


def read(path: Path) -> bytes:
    """The whole file. Raises OSError, also for one that is too large. For one that is not regular, such as a FIFO, it does so at once."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        _check_regular(file.fileno())
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"expected at most {MAX_BYTES >> 20} MiB")
    return content


def remove_left(path: Path) -> None:
    """Removes the temporary files of writers that were killed. Call it at the start, under the folder's lock."""
    ours = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}")
    with suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)


def _check_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "expected a regular file")


def sync_path(path: Path) -> None:
    """Writes a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
