# cython: language_level=3, boundscheck=False, wraparound=False
"""idle_thread: copying and writing where a core has nothing else to do (see idle_thread.pxd).

The thread writes whole blocks past the page cache (O_DIRECT), which spares a copy. It writes the bytes behind the last whole block as
usual, and once more with their block. Where the file system knows no O_DIRECT, it writes everything as usual.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, EINVAL, EIO, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset
from posix.stdlib cimport posix_memalign
from posix.unistd cimport pwrite

from inferd._core.base.clock cimport thread_ns
from inferd._core.base.linux cimport (
    SCHED_IDLE, SIG_BLOCK, pthread_cond_broadcast, pthread_cond_destroy, pthread_cond_init, pthread_cond_t, pthread_cond_wait,
    pthread_create, pthread_detach, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
    pthread_sigmask, pthread_t, sched_param, sched_setscheduler, sigfillset, sigset_t,
)

import os

cdef enum:
    BLOCK_NBYTES = 4096         # direct writing needs multiples of it: places, lengths and memory
    PIECE_NBYTES = 512 << 10    # of one call of the kernel
    MAX_PARTS = 256

cdef enum State: AT_REST, ASKED, DONE, CLOSED

cdef struct Work:
    char[PIECE_NBYTES] piece    # first: at the beginning of a block
    Py_ssize_t filled           # of it: the bytes behind the file's last whole block
    int64_t at                  # in the file, where the piece begins
    int descriptor              # of the file; -1: copy
    int direct                  # of the same file, for whole blocks; -1: there is none
    const Py_buffer *parts      # to write, in this order
    Py_ssize_t count
    int error                   # an errno
    int64_t used_ns             # of a core, by the thread since it began; written before DONE
    char *target                # to copy
    const char *source
    Py_ssize_t nbytes
    pthread_mutex_t mutex
    pthread_cond_t changed
    State state


@cython.final
cdef class IdleThread:
    """For one thread at a time, and one file. Raises OSError where no thread can be started."""

    def __cinit__(self):
        cdef pthread_t thread
        cdef void *memory = NULL
        if posix_memalign(&memory, BLOCK_NBYTES, sizeof(Work)) != 0:
            raise MemoryError
        memset(memory, 0, sizeof(Work))
        self.work = <Work *>memory
        if pthread_mutex_init(&self.work.mutex, NULL) != 0 or pthread_cond_init(&self.work.changed, NULL) != 0:
            raise MemoryError
        failed = pthread_create(&thread, NULL, serve, self.work)
        if failed:
            free_work(self.work)
            self.work = NULL
            raise OSError(failed, os.strerror(failed))
        pthread_detach(thread)

    def __dealloc__(self):
        self.close()

    def close(self):
        """Ends the thread. Idempotent."""
        if self.work == NULL:
            return
        pthread_mutex_lock(&self.work.mutex)
        self.work.state = CLOSED
        pthread_cond_broadcast(&self.work.changed)
        pthread_mutex_unlock(&self.work.mutex)
        self.work = NULL

    @property
    def used_s(self):
        """Core time that the thread has used. For the thread that gives it work."""
        return self.work.used_ns / 1e9 if self.work != NULL else 0.0

    def hurry(self):
        """From now on the thread that asks does the work itself. From any thread."""
        self.hurried = True

    cdef int copy(self, void *target, const void *source, Py_ssize_t nbytes) except -1 nogil:
        if self.work == NULL or self.hurried:
            memcpy(target, source, nbytes)
            return 0
        self.work.descriptor = -1
        self.work.target, self.work.source, self.work.nbytes = <char *>target, <const char *>source, nbytes
        ask(self.work)
        return 0

    def write(self, int descriptor, int direct, Py_ssize_t nbytes, list parts not None):
        """All bytes of the parts, one behind the other, to a file that has `nbytes` bytes, which were written here.

        direct: a descriptor of the same file with O_DIRECT; -1: there is none. Raises OSError, and RuntimeError once it is closed.
        """
        cdef Py_ssize_t begin
        cdef Work *work = self.work
        if work == NULL or descriptor < 0:
            raise RuntimeError("the idle thread is closed, or the file")
        if nbytes == 0:
            work.at = work.filled = 0
        if nbytes != work.at + work.filled:
            raise ValueError(f"expected the file of {work.at + work.filled} bytes that was written last, got one of {nbytes}")
        for begin in range(0, len(parts), MAX_PARTS):
            write_some(work, descriptor, direct, parts[begin:begin + MAX_PARTS], self.hurried)


cdef int write_some(Work *work, int descriptor, int direct, list parts, bint here) except -1:
    """MAX_PARTS at most."""
    cdef Py_buffer[MAX_PARTS] buffers
    work.count = 0
    try:
        for part in parts:
            PyObject_GetBuffer(part, &buffers[work.count], PyBUF_SIMPLE)
            work.count += 1
        work.descriptor, work.direct, work.parts = descriptor, direct, buffers
        with nogil:
            if here:
                work.error = write_parts(work)
            else:
                ask(work)
    finally:
        while work.count:
            work.count -= 1
            PyBuffer_Release(&buffers[work.count])
    if work.error:
        raise OSError(work.error, os.strerror(work.error))
    return 0


cdef void ask(Work *work) noexcept nogil:
    """Waits until it is done."""
    pthread_mutex_lock(&work.mutex)
    work.state = ASKED
    pthread_cond_broadcast(&work.changed)
    while work.state != DONE:
        pthread_cond_wait(&work.changed, &work.mutex)
    work.state = AT_REST
    pthread_mutex_unlock(&work.mutex)


cdef void *serve(void *given) noexcept nogil:
    """The thread."""
    cdef Work *work = <Work *>given
    cdef sched_param parameters
    cdef sigset_t signals
    sigfillset(&signals)
    pthread_sigmask(SIG_BLOCK, &signals, NULL)      # a signal is not to wait for an idle core
    memset(&parameters, 0, sizeof(parameters))
    sched_setscheduler(0, SCHED_IDLE, &parameters)  # where that is forbidden, it keeps its priority
    pthread_mutex_lock(&work.mutex)
    while work.state != CLOSED:
        if work.state != ASKED:
            pthread_cond_wait(&work.changed, &work.mutex)
            continue
        pthread_mutex_unlock(&work.mutex)
        if work.descriptor < 0:
            memcpy(work.target, work.source, work.nbytes)
        else:
            work.error = write_parts(work)
        pthread_mutex_lock(&work.mutex)
        work.used_ns = thread_ns()
        work.state = DONE
        pthread_cond_broadcast(&work.changed)
    pthread_mutex_unlock(&work.mutex)
    free_work(work)
    return NULL


cdef void free_work(Work *work) noexcept nogil:
    pthread_cond_destroy(&work.changed)
    pthread_mutex_destroy(&work.mutex)
    free(work)


cdef int write_parts(Work *work) noexcept nogil:
    """An errno; 0: all is written."""
    cdef Py_ssize_t i, at, taken
    cdef int error
    for i in range(work.count):
        at = 0
        while at < work.parts[i].len:
            taken = min(work.parts[i].len - at, PIECE_NBYTES - work.filled)
            memcpy(work.piece + work.filled, <const char *>work.parts[i].buf + at, taken)
            at += taken
            work.filled += taken
            if work.filled == PIECE_NBYTES:
                error = write_blocks(work)
                if error:
                    return error
    error = write_blocks(work)
    return error or write_all(work.descriptor, work.piece, work.filled, work.at)


cdef int write_blocks(Work *work) noexcept nogil:
    """Those of the piece that are whole. They leave it."""
    cdef Py_ssize_t whole = work.filled // BLOCK_NBYTES * BLOCK_NBYTES
    cdef int error = EINVAL
    if whole == 0:
        return 0
    if work.direct >= 0:
        error = write_all(work.direct, work.piece, whole, work.at)
    if error == EINVAL:     # also from a device of larger blocks
        error = write_all(work.descriptor, work.piece, whole, work.at)
    if error == 0:
        work.at += whole
        work.filled -= whole
        memmove(work.piece, work.piece + whole, work.filled)
    return error


cdef int write_all(int descriptor, const char *data, Py_ssize_t nbytes, int64_t at) noexcept nogil:
    """An errno; 0: all is written."""
    cdef Py_ssize_t written
    while nbytes > 0:
        written = pwrite(descriptor, data, nbytes, at)
        if written > 0:
            data += written
            nbytes -= written
            at += written
        elif written == 0:
            return EIO
        elif errno != EINTR:
            return errno
    return 0
