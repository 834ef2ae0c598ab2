"""Reads .npy and .npz files within a limit: a file that is too large is rejected by its headers, before any of it is unpacked.

A packed file may hold a thousand times its own size, and a header may say anything. Never in here: Python objects (pickle), what an
array is for.
"""

from __future__ import annotations

import math
import os
import stat
import zlib
from io import BytesIO, FileIO
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from zipfile import ZipInfo

    from inferd.tensors import Array

MAX_BYTES = 1 << 30  # of a file's arrays in memory; of all bodies of a bench together
MOST_ARRAYS = 1024  # of a .npz file
DIRECTORY_BYTES = 1 << 20  # of a .npz file's directory
HEADER_BYTES = 12 + 10_000  # magic, version and length, and what numpy takes for a header that is safe to read
TEXT_BYTES = 64  # what each text takes besides its own bytes, as an object

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# Errors of an archive that is damaged, encrypted or too new.
DAMAGES = (BadZipFile, EOFError, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError, zlib.error)


class Header(NamedTuple):
    """The header of a .npy file. at: where the values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    at: int

    @property
    def end(self) -> int:
        """Where the values end."""
        return self.at + math.prod(self.shape) * self.dtype.itemsize

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that reading it may take. An empty axis counts as 1, since the sizes beside it may be anything."""
        each = self.dtype.itemsize + (TEXT_BYTES if self.dtype.kind in "SUV" else 0)
        return math.prod(max(size, 1) for size in self.shape) * each


class Bounded(FileIO):
    """An open file that gives little at once: zipfile reads a directory whole, however large it says it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_BYTES:
            raise BadZipFile("its directory is too large")
        return super().read(size) or b""


def read_arrays(source: str, option: str, held_bytes: int = 0) -> Array | dict[str, Array]:
    """The array of a .npy file, or the arrays of a .npz file by name. held_bytes: what was read from other files, for the limit.

    ConfigError, which names the file and what is wrong in it, where it is none, is damaged, holds Python objects, or goes beyond
    MAX_BYTES.
    """
    where = f"{option} {source}"
    try:
        with Bounded(source) as file:
            packed = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            return _archive(file, where, held_bytes) if packed else _single(file, where, held_bytes)
    except FileNotFoundError:
        raise ConfigError(f"{where}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise ConfigError(f"{where}: it does not fit this machine's memory; give smaller arrays") from None


def _single(file: Bounded, where: str, held_bytes: int) -> Array:
    header = _header(file, where)
    _check_bytes(held_bytes + header.held_bytes, where)
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size < header.end:
        raise ConfigError(f"{where}: expected {header.end:,} bytes, as its header says, got {status.st_size:,}")
    file.seek(0)
    return _values(file, where)


def _archive(file: Bounded, where: str, held_bytes: int) -> dict[str, Array]:
    """Every header first, then every array."""
    try:
        archive = ZipFile(file)
    except DAMAGES:
        raise ConfigError(f"{where}: expected an archive that numpy.savez wrote; it is damaged") from None
    with archive:
        members: dict[str, ZipInfo] = {}
        for member in archive.infolist():
            name, inside = member.filename.removesuffix(".npy"), _inside(where, member)
            if len(members) == MOST_ARRAYS:
                raise ConfigError(f"{where}: expected {MOST_ARRAYS:,} arrays at most, got {len(archive.infolist()):,}")
            if name in members:
                raise ConfigError(f"{inside} is there twice")
            header = _member_header(archive, member, inside)
            held_bytes += header.held_bytes
            _check_bytes(held_bytes, inside)
            members[name] = member
        return {name: _member(archive, member, _inside(where, member)) for name, member in members.items()}


def _inside(where: str, member: ZipInfo) -> str:
    return f"{where}: {member.filename.removesuffix('.npy')!r:.200}"


def _member_header(archive: ZipFile, member: ZipInfo, inside: str) -> Header:
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # of other methods zipfile unpacks as much as there is
        raise ConfigError(f"{inside} is packed in a way that numpy.savez does not")
    try:
        with archive.open(member) as opened:
            header = _header(opened, inside)
    except DAMAGES:
        raise _damaged(inside) from None
    if member.file_size != header.end:
        raise ConfigError(f"{inside} has a header for {_counted(header.end)} bytes, and the archive says {member.file_size:,}")
    return header


def _member(archive: ZipFile, member: ZipInfo, inside: str) -> Array:
    """zipfile gives no more than the size that the archive says, which is the header's, and checks the sum of it."""
    try:
        with archive.open(member) as opened:
            return _values(opened, inside)
    except DAMAGES:
        raise _damaged(inside) from None


def _header(file: IO[bytes] | Bounded, where: str) -> Header:
    begin = BytesIO(file.read(HEADER_BYTES))  # numpy would read as much as the header says that it has
    if not begin.getvalue().startswith(npy.MAGIC_PREFIX):
        raise ConfigError(f"{where}: expected what numpy.save or numpy.savez writes, got something else")
    try:
        shape, _, dtype = HEADERS[npy.read_magic(begin)](begin)
    except Exception:  # it is a Python literal that anybody may have written: the reading raises nearly anything
        raise ConfigError(f"{where}: expected a header as numpy.save writes it; it is damaged, or of a structured array") from None
    if dtype.hasobject:
        raise ConfigError(f"{where} holds Python objects, which are not read; save texts as numpy strings")
    if any(size < 0 for size in shape) or not dtype.itemsize:
        raise ConfigError(f"{where}: expected a header with sizes of 0 or more and values of a byte or more")
    return Header(shape, dtype, begin.tell())


def _values(file: IO[bytes] | Bounded, where: str) -> Array:
    try:
        array: Array = npy.read_array(file, allow_pickle=False)
    except (OverflowError, ValueError):
        raise _damaged(where) from None
    return array


def _check_bytes(held_bytes: int, where: str) -> None:
    if held_bytes > MAX_BYTES:
        raise ConfigError(
            f"{where}: expected arrays of {MAX_BYTES >> 20} MiB at most in all, got {_counted(held_bytes)} bytes; give smaller ones"
        )


def _counted(number: int) -> str:
    """Python writes no number of thousands of digits, and a header may hold one."""
    return f"{number:,}" if number.bit_length() < 64 else "10^18 or more"


def _damaged(where: str) -> ConfigError:
    return ConfigError(f"{where} is damaged")
