"""The counts of one version, of this process and of all: a file in memory that each of them has a slot of.

    header   4096 bytes: MAGIC, the words of a slot
    slot     the words of all features, of one process; a page's multiple

A process that ends, however it ends, leaves its slot to the next one, which counts on in it. So the sum of all slots is that of all rows
since the file began. A slot is locked by its owner's open file, of
which its memory has a copy: it is free once nothing counts in it. Its blocks exist before they are mapped, so that a full disk is an error
here, and no signal later. Never in here: what the words are.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import weakref
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inferd.tensors import Array

log = logging.getLogger("inferd.monitor")

MAGIC = b"inferd-counts-1\n"
HEADER = struct.Struct(f"<{len(MAGIC)}sQ")
PAGE = 4096
MAX_SLOTS = 256


class Counters:
    """path: of the file; None: there is none, and so these are the counts of this process alone. sizes: words of each feature."""

    def __init__(self, path: Path | None, sizes: Sequence[int]) -> None:
        self._count = sum(sizes)
        self._slot_nbytes = -(-self._count * 8 // PAGE) * PAGE
        self._descriptor = -1
        self._slots: list[Array] = []
        own: Array = np.zeros(self._count, np.uint64)
        if path is not None:
            try:
                own = self._claimed(path)
            except OSError as error:
                self._descriptor = -1
                log.warning("drift: %s cannot be used, so the counts of this process are its own: %s", path.name, error.strerror or error)
        self.is_shared = self._descriptor >= 0
        if not self.is_shared:
            self._slots = [own]
        self.words = divided(own, sizes)

    def total(self) -> Array:
        """The words of all features, added up over all processes."""
        self._look_for_slots()
        found: Array = np.stack(self._slots).sum(axis=0)  # whole numbers that run over, as they may
        return found

    def first(self) -> int:
        """The first word of all features, added up: cheaper than `total`."""
        self._look_for_slots()
        return sum(int(slot[0]) for slot in self._slots)

    def _claimed(self, path: Path) -> Array:
        """The words of the first slot that no process has. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._descriptor)
        self._check_header()
        number = next((slot for slot in range(MAX_SLOTS) if self._locks(slot)), None)
        if number is None:
            raise OSError(f"expected at most {MAX_SLOTS} processes, got one more")
        os.posix_fallocate(self._descriptor, PAGE + number * self._slot_nbytes, self._slot_nbytes)
        self._look_for_slots()
        return self._slots[number]

    def _check_header(self) -> None:
        """Writes it if the file is new. Raises OSError for another file."""
        expected = HEADER.pack(MAGIC, self._count)
        os.posix_fallocate(self._descriptor, 0, PAGE)
        found = os.pread(self._descriptor, HEADER.size, 0)
        if found != expected:
            if any(found):
                raise OSError("it is a file of something else: remove it")
            os.pwrite(self._descriptor, expected, 0)

    def _locks(self, slot: int) -> bool:
        """Tries to lock a slot for this open file; the system unlocks it when the process ends."""
        wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, PAGE + slot * self._slot_nbytes, 1, 0)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            return False
        return True

    def _look_for_slots(self) -> None:
        """Maps slots that came since the last look. Those that are mapped stay as they are."""
        if self._descriptor < 0:
            return
        count = (os.fstat(self._descriptor).st_size - PAGE) // self._slot_nbytes
        while len(self._slots) < count:
            start = PAGE + len(self._slots) * self._slot_nbytes
            mapped = mmap.mmap(self._descriptor, self._slot_nbytes, offset=start)
            self._slots.append(np.frombuffer(mapped, np.uint64, self._count))


def divided(words: Array, sizes: Sequence[int]) -> list[Array]:
    """The words of each feature."""
    return [words[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
