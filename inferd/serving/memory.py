"""Memory that the C library keeps for later, given back to the system. Never in here: when."""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["give_back", "giving_back", "watch_heap"]

_library = ctypes.CDLL(None)  # whose calls do not hold Python's lock
_trim = getattr(_library, "malloc_trim", None)  # glibc's
_set = getattr(_library, "mallopt", None) if _trim is not None else None
_library.realloc.argtypes, _library.realloc.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_void_p
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of mallopt
KEPT_NBYTES = 1 << 20  # at the end of a heap, once a model is freed
# Otherwise: what glibc arrives at by itself once a block of 32 MiB was freed. It leaves its thresholds alone from the first mallopt on.
MAPPED_NBYTES, RETAINED_NBYTES = 32 << 20, 64 << 20
HEAP_NBYTES, PAD_NBYTES = 64 << 20, 128 << 10  # the largest heap of a thread; what glibc keeps at its end by itself
PROBE_NBYTES = 256 << 10  # freed in a heap, so much makes glibc look at its end
MAX_PROBES = 16  # a program may start a server again and again
_probes: list[int] = []  # a block in each heap that is watched, never touched
_lock = threading.Lock()  # who frees while another one trims waits for a heap, and holds Python's lock meanwhile


def give_back() -> None:
    """Pages that hold nothing are the system's again, some milliseconds later. Nothing where the C library is not glibc."""
    if _trim is not None:
        _trim(0)


def watch_heap() -> None:
    """From now on `giving_back` gives back what lies at the end of the calling thread's heap, too, which give_back leaves alone."""
    if _set is not None and len(_probes) < MAX_PROBES and (probe := _library.realloc(None, PROBE_NBYTES)):
        _probes.append(probe)


@contextmanager
def giving_back() -> Iterator[None]:
    """What is freed inside is the system's again at the end, and not before: while a model is freed, Python's lock is held, and 100 MB of
    pages take 6 ms to go. One thread at a time."""
    with _lock:
        if _set is not None:
            _set(MMAP_THRESHOLD, MAPPED_NBYTES)
            _set(TOP_PAD, HEAP_NBYTES)
        try:
            yield
        finally:
            if _set is not None:
                _set(TOP_PAD, PAD_NBYTES)
                _set(TRIM_THRESHOLD, KEPT_NBYTES)
                for index, probe in enumerate(_probes):
                    shrunk = _library.realloc(probe, 1)
                    _probes[index] = _library.realloc(shrunk, PROBE_NBYTES) or shrunk
                _set(TRIM_THRESHOLD, RETAINED_NBYTES)
            give_back()
