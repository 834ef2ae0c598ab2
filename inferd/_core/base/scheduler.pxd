# scheduler: whose turn it is. Deficit round robin over flows, with two lists as in fq_codel (RFC 8290). A flow with credit that has just
# got work goes before those that have used up a quantum. A policy: costs are integers; no clock, no lock.
# Never in here: what a flow does, and what a cost is made of.

from libc.stdint cimport int64_t

cdef enum Place:                        # where a flow waits
    NOWHERE = 0                         # it has no work
    # In a list, or taking a turn from it:
    NEW = 1                             # flows that had credit when they got work
    OLD = 2                             # flows that have used up a quantum, and flows that had no credit when they got work

cdef class Flow:                        # something that takes turns, such as a connection
    cdef Flow behind                    # the next one of its list
    cdef int64_t deficit                # its credit: what it may still use of its quantum; below 0: its debt
    cdef Place place                    # which list it is in
    cdef int64_t cost                   # the cost of its last turn
    # Works, and sets `cost`. True: more work is left.
    cdef bint take_turn(self) noexcept

cdef class Scheduler:
    cdef int64_t quantum       # what a flow may use before others go first
    cdef Flow first_new, last_new, first_old, last_old      # the two lists
    cdef int64_t new_cost               # what turns of new flows cost since an old one had its turn
    # A flow has work. Does nothing if the flow waits already, or takes its turn: there take_turn returns whether more is left.
    cpdef void add(self, Flow flow) noexcept
    # The flow whose turn it is, which leaves its list. None: no flow has work, or many have large debts: call again where has_work().
    cpdef Flow next(self)
    # Its turn is over. more: it has more work and waits again.
    cpdef void charge(self, Flow flow, int64_t cost, bint more) noexcept
    cpdef bint has_work(self) noexcept
    cdef void append(self, Flow flow, Place place) noexcept
    cdef void prepend(self, Flow flow) noexcept
    cdef Flow pop(self, Place place)
