# scheduler: whose turn it is. Deficit round robin over flows, with two lists as in fq_codel (RFC 8290): a flow that has just got work
# goes before those that have used up a quantum, or begin. A policy: costs are integers; no clock, no lock.
# Never in here: what a flow does, and what a cost is made of.

from libc.stdint cimport int64_t

cdef enum Place:                        # where a flow waits
    NOWHERE = 0                         # it has no work. In its turn a flow keeps the place that it came from
    NEW = 1                             # it had credit when it got work
    OLD = 2                             # it has used up a quantum, has a debt, or begins

cdef class Flow:                        # something that takes turns, such as a connection
    cdef Flow behind                    # the next one of its list
    cdef int64_t deficit                # what it may still use of its quantum; below 0: what it owes
    cdef Place place
    cdef int64_t cost                   # of its last turn
    # Works, and says what that cost. True: more work is left.
    cdef bint take_turn(self) noexcept

cdef class Scheduler:
    cdef readonly int64_t quantum
    cdef Flow first_new, last_new, first_old, last_old
    cdef int64_t new_cost               # of the turns of new flows since an old one had its turn
    # A flow has work. Nothing happens where it waits already, or in its own turn: there take_turn says whether more is left.
    cpdef void add(self, Flow flow) noexcept
    # The flow whose turn it is, which leaves its list; None: no flow has work.
    cpdef Flow next(self)
    # Its turn is over and cost so much. more: it has more work and waits again.
    cpdef void charge(self, Flow flow, int64_t cost, bint more) noexcept
    cpdef bint has_work(self) noexcept
    cdef void append(self, Flow flow, Place place) noexcept
    cdef void prepend(self, Flow flow) noexcept
    cdef Flow pop(self, Place place)
