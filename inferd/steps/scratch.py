"""Memory for the pixels of pictures, which threads keep and write again. Never in here: what is written, how much all may take."""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress

import numpy as np

from inferd.steps.pipeline import Array

KEPT_BYTES = 16 << 20  # of memory on one thread, for all uses: pictures of five million pixels. Larger ones get theirs, and give it back


class Scratch(threading.local):
    """Memory for pixels that each thread keeps and writes again: the pages of a fresh array cost as much as a resize."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def pixels(self, use: str, shape: tuple[int, int, int]) -> Array:
        """UINT8 of that shape, holding anything. It is the caller's until its thread asks again for the same use."""
        nbytes = shape[0] * shape[1] * shape[2]
        if nbytes > KEPT_BYTES:
            return pages(nbytes).reshape(shape)
        kept = self._kept.get(use)
        if kept is None or len(kept) < nbytes:
            self._kept.pop(use, None)
            if sum(map(len, self._kept.values())) + nbytes > KEPT_BYTES:
                self._kept.clear()
            kept = self._kept[use] = pages(nbytes)
        return kept[:nbytes].reshape(shape)


def pages(nbytes: int) -> Array:
    """UINT8 of memory that returns to the system when it is freed. The C library keeps some 30 MB of each thread, even after its end."""
    try:
        pages = mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        raise MemoryError from None
    with suppress(AttributeError, OSError):  # where there are no large pages, it is slower
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8, nbytes)


scratch = Scratch()
