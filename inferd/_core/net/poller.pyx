# cython: language_level=3, boundscheck=False, wraparound=False
# poller: watches the sockets of a server, and gives turns to those that have work (see poller.pxd).

from libc.errno cimport errno
from libc.stdint cimport int64_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP,
    close as close_descriptor, epoll_create1, epoll_ctl, epoll_event, epoll_wait,
)
from inferd._core.base.scheduler cimport Flow, Scheduler
from inferd._core.net.limits cimport BUDGET_NS, QUANTUM

import logging
import os

cdef enum:
    EVENTS = 256                        # the most that one call of epoll_wait returns: the loop calls serve() again while there are more

log = logging.getLogger("inferd.net")


cdef class Polled(Flow):

    def __cinit__(self, *args, **kwargs):
        self.descriptor = -1

    cpdef flush(self):
        pass

    cdef void schedule_flush_turn(self) noexcept:
        pass


cdef class Poller:
    """The sockets of one server. The event loop calls serve() whenever fileno() is readable.

    schedule(callback): loop.call_soon.
    """

    def __cinit__(self, schedule not None):
        self.epoll = -1
        self.sockets, self.schedule = {}, schedule
        self.scheduler, self.budget_ns = Scheduler(QUANTUM), BUDGET_NS
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.epoll >= 0:
            close_descriptor(self.epoll)

    def __len__(self):
        return len(self.sockets)

    def fileno(self):
        return self.epoll

    def close(self):
        """Serves no socket any more."""
        cdef Polled socket
        for socket in self.sockets.values():
            socket.poller = None
        self.sockets = {}
        while self.scheduler.has_work():
            self.scheduler.next()                        # takes the flows off the lists, which would keep each other alive
        if self.epoll >= 0:
            close_descriptor(self.epoll)
        self.epoll = -1

    cdef int add(self, Polled socket) except -1:
        cdef epoll_event event
        event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET
        event.data.fd = socket.descriptor
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, socket.descriptor, &event) != 0:
            raise OSError(errno, os.strerror(errno))
        self.sockets[socket.descriptor] = socket
        socket.poller = self
        return 0

    cdef void forget(self, Polled socket) noexcept:
        if socket.poller is self:
            socket.poller = None
            self.sockets.pop(socket.descriptor, None)
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, socket.descriptor, NULL)

    cdef void wake(self, Flow flow) noexcept:
        self.scheduler.add(flow)
        self.schedule_turns()

    def serve(self):
        """Takes note of epoll's events, and gives turns for as long as the budget of an iteration lasts. If turns are scheduled, it gives
        none now: an iteration has one budget."""
        cdef epoll_event events[EVENTS]
        cdef int count, i
        cdef object found
        cdef Polled socket
        with nogil:                         # a thread that waits for the GIL gets it meanwhile
            count = epoll_wait(self.epoll, events, EVENTS, 0)
        for i in range(count):
            found = self.sockets.get(events[i].data.fd)
            if found is not None:           # else forget() came after the event
                socket = <Polled>found
                if events[i].events & EPOLLIN:
                    socket.readiness |= READABLE
                if events[i].events & EPOLLOUT:
                    socket.readiness |= WRITABLE
                if events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                    socket.readiness |= READABLE | HUNG_UP
                    socket.deficit = min(socket.deficit, 0)     # its end is not urgent
                if events[i].events & (EPOLLHUP | EPOLLERR):
                    socket.readiness |= GONE
                if events[i].events & EPOLLPRI:
                    socket.readiness |= READABLE | CUT
                if socket.readiness & READABLE or socket.unsent is not None:
                    self.scheduler.add(socket)
        if not self.scheduled:
            self.run()

    def serve_scheduled(self):
        self.scheduled = False
        self.serve()

    cdef int run(self) except -1:
        cdef Flow flow
        cdef bint more
        cdef int64_t until_ns
        self.now_ns = monotonic_ns()
        until_ns = self.now_ns + self.budget_ns
        while True:
            flow = self.scheduler.next()
            if flow is None:
                break
            more = flow.take_turn()
            self.scheduler.charge(flow, flow.cost, more)
            self.now_ns = monotonic_ns()
            if self.now_ns >= until_ns:
                break
        if self.scheduler.has_work():
            self.schedule_turns()
        return 0

    cdef void schedule_turns(self) noexcept:
        """The next turns come in the next iteration of the loop: all callbacks of this one run before."""
        if self.scheduled:
            return
        self.scheduled = True
        try:
            self.schedule(self.serve_scheduled)
        except Exception as error:
            self.scheduled = False
            log.error("a turn could not be scheduled", exc_info=error)
