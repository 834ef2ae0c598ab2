"""Memory that the C library keeps for later, given back to the system. Never in here: when."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["give_back", "giving_back"]

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
_set = getattr(ctypes.CDLL(None), "mallopt", None) if _trim is not None else None
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt
KEPT_NBYTES = 1 << 20  # at the end of a heap, while a model is freed
# Otherwise: what glibc arrives at by itself once a block of 32 MiB was freed. It leaves its thresholds alone from the first mallopt on.
MAPPED_NBYTES, RETAINED_NBYTES = 32 << 20, 64 << 20


def give_back() -> None:
    """Pages that hold nothing are the system's again, some milliseconds later. Nothing where the C library is not glibc."""
    if _trim is not None:
        _trim(0)


@contextmanager
def giving_back() -> Iterator[None]:
    """What is freed inside is the system's again at the end: also what lies at the ends of threads' heaps, which give_back leaves alone."""
    if _set is not None:
        _set(MMAP_THRESHOLD, MAPPED_NBYTES)
        _set(TRIM_THRESHOLD, KEPT_NBYTES)
    try:
        yield
    finally:
        if _set is not None:
            _set(TRIM_THRESHOLD, RETAINED_NBYTES)
        give_back()
