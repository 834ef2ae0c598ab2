# idle_thread: a thread of idle priority (SCHED_IDLE) that copies and writes for another one, which sleeps meanwhile. It runs where a core
# has nothing else to do. It never holds the GIL: no other thread waits for it while it gets no core.
# Never in here: what the bytes mean.

cdef struct Work                # one at a time

cdef class IdleThread:
    cdef Work *work             # is the thread's, which frees it after close()
    cdef bint hurried           # the thread that asks does the work
    cdef int copy(self, void *target, const void *source, Py_ssize_t nbytes) except -1 nogil    # as memcpy
