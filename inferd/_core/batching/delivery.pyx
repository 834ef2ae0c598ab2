# cython: language_level=3, boundscheck=False, wraparound=False
"""delivery: batches on their way from the threads that have run them to the event loop, which delivers them to their calls.

The thread wakes the loop by an eventfd, and lets go of the GIL for the write: the loop needs it at once. A batch that comes before the
loop has looked wakes it no second time. Never in here: which loop, what is sent.
"""

cimport cython
from libc.errno cimport errno
from libc.stdint cimport uint64_t

from inferd._core.base.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, close as close_descriptor, eventfd, eventfd_read, eventfd_write
from inferd._core.batching.batch cimport Batch

import logging
import os

log = logging.getLogger("inferd.delivery")


@cython.final
cdef class Delivery:
    """To one loop, which calls `deliver` whenever `fileno()` is readable. Raises OSError where no descriptor is left."""

    cdef int descriptor
    cdef int writers                    # threads that are about to write to it, without the GIL
    cdef list batches
    cdef bint woken                     # the loop has been woken and has not looked yet
    cdef readonly bint closed

    def __cinit__(self):
        self.batches = []
        self.descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.descriptor < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        self.free()

    def fileno(self):
        return self.descriptor

    def put(self, Batch batch not None):
        """The loop is to deliver this batch. From any thread. Raises RuntimeError once closed."""
        if self.closed:
            raise RuntimeError("the event loop takes no batches any more")
        self.batches.append(batch)
        if not self.woken:
            self.woken = True
            self.writers += 1
            with nogil:
                eventfd_write(self.descriptor, 1)
            self.writers -= 1
            if self.closed:
                self.free()

    def deliver(self):
        """Delivers all batches that have come. On the loop's thread."""
        cdef uint64_t count
        cdef Batch batch
        eventfd_read(self.descriptor, &count)
        self.woken = False
        batches, self.batches = self.batches, []
        for batch in batches:
            try:
                batch.deliver()
            except Exception:
                log.exception("a batch could not be delivered")

    def close(self):
        """Delivers what has come, and takes nothing more. On the loop's thread, which no longer watches the descriptor. Idempotent."""
        self.closed = True
        self.deliver()
        self.free()

    cdef void free(self) noexcept:
        if self.descriptor >= 0 and self.writers == 0:
            close_descriptor(self.descriptor)
            self.descriptor = -1
