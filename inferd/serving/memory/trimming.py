"""Returns memory that the C library keeps to the system. Never in here: when."""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_library = ctypes.CDLL(None)  # its calls do not hold the GIL
_trim = getattr(_library, "malloc_trim", None)  # glibc's
_set = getattr(_library, "mallopt", None) if _trim is not None else None
_library.realloc.argtypes, _library.realloc.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_void_p
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of mallopt
KEPT_NBYTES = 1 << 20  # kept at the end of a heap after a model is freed
# The thresholds that glibc chooses itself once a block of 32 MiB was freed. The first mallopt stops that choice.
MAPPED_NBYTES, RETAINED_NBYTES = 32 << 20, 64 << 20
HEAP_NBYTES, PAD_NBYTES = 64 << 20, 128 << 10  # the largest heap of a thread; glibc's default for the end of a heap
PROBE_NBYTES = 256 << 10  # freeing so much in a heap makes glibc trim its end
MAX_PROBES = 16  # a program may start a server again and again
_probes: list[int] = []  # a block in each watched heap, never touched
_lock = threading.Lock()  # a thread that frees while another one trims waits for a heap, with the GIL held


def give_back() -> None:
    """Returns unused pages to the system, within some milliseconds. Does nothing if the C library is not glibc."""
    if _trim is not None:
        _trim(0)


def watch_heap() -> None:
    """From now on `giving_back` also trims the end of the calling thread's heap, which give_back does not."""
    if _set is not None and len(_probes) < MAX_PROBES and (probe := _library.realloc(None, PROBE_NBYTES)):
        _probes.append(probe)


@contextmanager
def giving_back() -> Iterator[None]:
    """Returns memory that is freed inside the block to the system, at its end. Returning 100 MB takes 6 ms, and while a model is freed the
    GIL is held. One thread at a time."""
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
