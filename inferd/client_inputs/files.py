"""Reads a file that a user names, whole and once. A limit holds: an endless device or a wrong file must not take all memory.

A pipe is read to its end. Never in here: what a file means.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PIECE_BYTES = 1 << 20


def read_whole(path: str | Path, where: str, most_bytes: int, cure: str, hint: str = "") -> bytearray:
    """All of a file. ConfigError begins with `where`: the file cannot be read, and `hint` ends it; or it is too large, and `cure` does."""
    try:
        with open(path, "rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > most_bytes:
                raise _too_large(where, f"{size:,} bytes", most_bytes, cure)
            return read_stream(file, where, most_bytes, cure)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}{hint}") from None


def read_stream(file: BinaryIO, where: str, most_bytes: int, cure: str) -> bytearray:
    """The same of what is open already. OSError: it cannot be read."""
    content = bytearray()
    try:
        while piece := file.read(PIECE_BYTES):
            content += piece
            if len(content) > most_bytes:
                raise _too_large(where, "more", most_bytes, cure)
    except MemoryError:
        raise ConfigError(f"{where}: it does not fit this machine's memory; {cure}") from None
    return content


def _too_large(where: str, size: str, most_bytes: int, cure: str) -> ConfigError:
    return ConfigError(f"{where}: expected {most_bytes >> 20} MiB at most, got {size}; {cure}")
