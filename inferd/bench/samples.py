"""Each request's times and code in a .npy file, written as they come: a long measurement has more of them than memory holds.

The file has its name once it is whole. Never in here: what a sample says (worker, generator).
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np

from inferd.errors import ConfigError, InferdError

COLUMNS = 4  # int64 each: intended, sent, done in ns, code
ROW_BYTES = 8 * COLUMNS


class Samples(AbstractContextManager["Samples"]):
    """An array of (requests, COLUMNS) that grows; `save` ends it. ConfigError, InferdError where no file can be.

    with Samples("samples.npy") as samples:
        samples.append(piece); ...; samples.save()
    """

    def __init__(self, path: str) -> None:
        self._path, self._place = path, Path(path).resolve()
        if self._place.exists() and not self._place.is_file():
            raise ConfigError(f"--samples {path}: expected a file, for its beginning is written last")
        self._unfinished = self._place.with_name(f".{self._place.name}.{os.getpid()}")
        self._rows, self._failure = 0, ""
        try:
            self._file = open(self._unfinished, "wb")  # noqa: SIM115 - closed by save and by the end of the block
        except OSError as error:
            raise InferdError(f"{path}: cannot be written: {error.strerror}") from None
        self._write_beginning()

    def __exit__(self, *raised: object) -> None:
        with suppress(OSError):  # a full disk has been said
            self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def append(self, piece: bytes) -> None:
        """Whole rows. A disk that is full ends no measurement: `save` says so."""
        try:
            if not self._failure:
                self._file.write(piece)
                self._rows += len(piece) // ROW_BYTES
        except OSError as error:
            self._failure = error.strerror or str(error)

    def save(self) -> None:
        """The file, under its name."""
        try:
            if not self._failure:
                self._file.seek(0)
                self._write_beginning()
                self._file.close()
                self._unfinished.replace(self._place)
        except OSError as error:
            self._failure = error.strerror or str(error)
        if self._failure:
            raise InferdError(f"{self._path}: cannot be written: {self._failure}")

    def _write_beginning(self) -> None:
        """numpy leaves room in it for any number of rows, so that it is as long in the end as now."""
        shape = (self._rows, COLUMNS)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<i8", "fortran_order": False, "shape": shape})
