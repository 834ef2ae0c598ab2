# yielding: a thread with a long piece of work lets others go first, once in a while; header-only. Where it shares a core with the event
# loop, Linux lets it run on to the next tick when the loop wakes up, 4 ms later at most, however nice it is: niceness is about shares of
# time, not about whose turn it is. Called without the GIL, which the loop needs then. Never in here: what the work is.

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    YIELD_NBYTES = 64 << 10     # between two: some 0.1 ms of work on them
