# cython: language_level=3, boundscheck=False, wraparound=False
# poller: sockets that have something to say. Those without TLS are read here; what they say, and that they are gone, is worked on
# by turns (http2_endpoint, serving/native). Of others a few are told in each iteration that they can be read: the loop takes up to 1024 at
# a time by itself, for tens of milliseconds. Never in here: what is read, when a connection ends.

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.http2.server_state cimport RECEIVE_NBYTES, Endpoint
from inferd._core.http2.limits cimport LITTLE_NBYTES, WOKEN
from inferd._core.base.linux cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, EPOLLRDHUP, MSG_DONTWAIT, close as close_descriptor, epoll_create1, epoll_ctl,
    epoll_event, epoll_wait, recv,
)

import os

NOBODY = (None,)

cdef enum:
    EVENTS = 64                         # that are asked for at a time


cdef class Sockets:
    """Of one endpoint. serve() is to be called whenever fileno() is readable."""

    cdef Endpoint endpoint
    cdef int epoll                      # of the sessions, and of `sleeping`
    cdef int sleeping                   # the epoll of those that sleep: however many can be read, they are one of many to the sessions
    cdef dict sessions                  # descriptor -> the session that is read
    cdef dict asleep                    # descriptor -> who sleeps, and what is called with that once it can be read

    def __cinit__(self, Endpoint endpoint not None):
        self.endpoint = endpoint
        self.sessions, self.asleep = {}, {}
        self.epoll = self.sleeping = -1
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.sleeping = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0 or self.sleeping < 0:
            raise OSError(errno, os.strerror(errno))
        watch(self.epoll, self.sleeping, EPOLLIN)

    def __dealloc__(self):
        self.close()

    def __len__(self):
        return len(self.sessions) + len(self.asleep)

    def fileno(self):
        return self.epoll

    def read(self, int descriptor, session not None):
        """From now on. What comes is session.buffer_updated(nbytes) told, as of a loop's transport; that nothing more will,
        session.hang_up(error), once, with errno or 0."""
        if descriptor not in self.sessions:
            watch(self.epoll, descriptor, EPOLLIN)
            self.sessions[descriptor] = session

    def wake(self, int descriptor, whose not None, callback not None):
        """Calls callback(whose) once, when something has come or nothing more will."""
        watch(self.sleeping, descriptor, EPOLLIN | EPOLLRDHUP)
        self.asleep[descriptor] = (whose, callback)

    def forget(self, int descriptor, whose not None):
        """Nothing is done any more for this session, or whoever sleeps, if anything was. By TLS a socket is closed before its connection
        hears of it: by then the descriptor may be another's."""
        if self.sessions.get(descriptor) is whose:
            del self.sessions[descriptor]
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, descriptor, NULL)
        elif self.asleep.get(descriptor, NOBODY)[0] is whose:
            del self.asleep[descriptor]
            epoll_ctl(self.sleeping, EPOLL_CTL_DEL, descriptor, NULL)

    def close(self):
        """Forgets all."""
        self.sessions, self.asleep = {}, {}
        if self.epoll >= 0:
            close_descriptor(self.epoll)
        if self.sleeping >= 0:
            close_descriptor(self.sleeping)
        self.epoll = self.sleeping = -1

    def serve(self):
        """All that have something to say, EVENTS at least, for as long as the first turns of an iteration last: the others are the first
        of the next. Who has no turn in this iteration is read all the same, and left: who says little need not wait behind it."""
        cdef epoll_event events[EVENTS]
        cdef int count = EVENTS, i
        self.endpoint.begin_iteration(monotonic_ns())
        while count == EVENTS:
            with nogil:                         # a thread that waits for the GIL has it meanwhile
                count = epoll_wait(self.epoll, events, EVENTS, 0)
            for i in range(count):
                try:
                    self.serve_one(events[i].data.fd)
                except Exception as error:
                    self.endpoint.log(error)
            if monotonic_ns() >= self.endpoint.light_until_ns:
                break
        self.endpoint.iteration_begun = False

    cdef int serve_one(self, int descriptor) except -1:
        if descriptor == self.sleeping:
            return self.wake_some()
        session = self.sessions.get(descriptor)
        if session is not None:                 # else one before it has ended it
            self.receive(descriptor, session)
        return 0

    cdef int wake_some(self) except -1:
        cdef epoll_event events[WOKEN]
        cdef int descriptor, i
        for i in range(epoll_wait(self.sleeping, events, WOKEN, 0)):
            descriptor = events[i].data.fd
            if descriptor in self.asleep:       # else one before it has ended it
                whose, callback = self.asleep[descriptor]
                self.forget(descriptor, whose)
                try:
                    callback(whose)
                except Exception as error:
                    self.endpoint.log(error)
        return 0

    cdef int receive(self, int descriptor, session) except -1:
        """All that is there, as far as the session's turn lasts: when that is over it is forgotten here."""
        cdef Py_ssize_t nbytes, most_nbytes
        self.endpoint.reading = NULL
        while True:
            most_nbytes = RECEIVE_NBYTES if self.endpoint.held_nbytes < self.endpoint.max_held_nbytes else LITTLE_NBYTES
            nbytes = recv(descriptor, self.endpoint.receive_buffer, most_nbytes, MSG_DONTWAIT)
            if nbytes > 0:
                session.buffer_updated(nbytes)
            elif nbytes == 0 or (errno != EAGAIN and errno != EINTR):
                error = errno if nbytes < 0 else 0
                self.forget(descriptor, session)
                session.hang_up(error)
            if nbytes < RECEIVE_NBYTES or descriptor not in self.sessions:
                return 0


cdef int watch(int epoll, int descriptor, uint32_t events) except -1:
    cdef epoll_event event
    event.events, event.data.fd = events, descriptor
    if epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0:
        raise OSError(errno, os.strerror(errno))
    return 0
