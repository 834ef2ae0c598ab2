# cython: language_level=3
# scheduler: whose turn it is (see scheduler.pxd).

cimport cython
from libc.stdint cimport int64_t

cdef enum:
    MOST_ROTATED = 1000                 # flows with a debt that one next() passes: some 50 us


@cython.no_gc                           # a list holds a flow only while the flow waits
cdef class Flow:
    """Something that takes turns."""

    cdef bint take_turn(self) noexcept:
        return False


@cython.final
cdef class Scheduler:
    """Deficit round robin. quantum: what a flow may use before others go first.

    A flow with credit goes first, so that a client that sends little does not wait behind thousands that send much. A flow begins
    without credit, behind the others. Old flows get a turn for each quantum that new ones have used, so that neither list starves.
    """

    def __init__(self, int64_t quantum):
        self.quantum = quantum

    cpdef void add(self, Flow flow) noexcept:
        if flow.place == NOWHERE:
            if flow.deficit > 0:        # its last turns left some of a quantum
                flow.deficit = self.quantum
                self.append(flow, NEW)
            else:                       # a debt stays
                flow.deficit += self.quantum
                self.append(flow, OLD)

    cpdef Flow next(self):
        cdef Flow flow
        cdef int rotated = 0
        while self.first_new is None or self.new_cost >= self.quantum:
            self.new_cost = 0
            if self.first_old is None:
                break
            flow = self.pop(OLD)
            if flow.deficit <= 0:
                flow.deficit += self.quantum
            if flow.deficit > 0:
                return flow
            self.append(flow, OLD)      # it still owes
            rotated += 1
            if rotated == MOST_ROTATED:
                return None
        return self.pop(NEW) if self.first_new is not None else None

    cpdef void charge(self, Flow flow, int64_t cost, bint more) noexcept:
        if flow.place == NEW:
            self.new_cost += cost
        flow.deficit -= cost
        if not more:
            flow.place = NOWHERE
        elif flow.deficit > 0:
            self.prepend(flow)          # its quantum goes on
        else:
            self.append(flow, OLD)

    cpdef bint has_work(self) noexcept:
        return self.first_new is not None or self.first_old is not None

    cdef void append(self, Flow flow, Place place) noexcept:
        flow.place = place
        if place == NEW:
            if self.last_new is None:
                self.first_new = flow
            else:
                self.last_new.behind = flow
            self.last_new = flow
        else:
            if self.last_old is None:
                self.first_old = flow
            else:
                self.last_old.behind = flow
            self.last_old = flow

    cdef void prepend(self, Flow flow) noexcept:
        """To the head of its own list."""
        if flow.place == NEW:
            flow.behind = self.first_new
            self.first_new = flow
            if self.last_new is None:
                self.last_new = flow
        else:
            flow.behind = self.first_old
            self.first_old = flow
            if self.last_old is None:
                self.last_old = flow

    cdef Flow pop(self, Place place):
        cdef Flow flow
        if place == NEW:
            flow = self.first_new
            self.first_new = flow.behind
            if flow.behind is None:
                self.last_new = None
        else:
            flow = self.first_old
            self.first_old = flow.behind
            if flow.behind is None:
                self.last_old = None
        flow.behind = None
        return flow
