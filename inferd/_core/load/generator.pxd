# generator: the load generator's loop, as other modules extend it (see generator.pyx).

from libc.stdint cimport int64_t, uint8_t

from inferd._core.load.connection cimport LoadConnection, State
from inferd._core.load.load_protocol cimport LoadProtocol
from inferd._core.base.linux cimport epoll_event


cdef class Generator:
    cdef State state
    cdef LoadProtocol protocol
    cdef list sent_bodies       # as the protocol sends them
    cdef list words             # names that responses may have: of models, of outputs
    cdef int epoll
    cdef uint8_t *buffer
    cdef list queue             # arrays of arrival times that have not begun, oldest first
    cdef bint queued            # whether there are any, for those who have no GIL
    cdef int64_t[::1] arrivals  # the array being used up
    cdef Py_ssize_t arrival     # next of it
    cdef Py_ssize_t arrival_count       # behind its last

    cdef int check_raised(self) except -1
    cdef bint is_greeted(self) noexcept nogil
    cdef void drop(self, LoadConnection *connection)
    cdef int64_t measure_left(self, int64_t *from_ns)
    cdef list waiting(self)
    cdef int64_t next_due(self) noexcept nogil
    cdef void fill(self) noexcept nogil
    cdef void send_rejected(self) noexcept nogil
    cdef int64_t turn_around(self, int64_t until_ns, int64_t spin_ns) noexcept nogil
    cdef int64_t take_events(self, int64_t until_ns, int64_t spin_ns) noexcept nogil
    cdef LoadConnection *next_connection(self) noexcept nogil
    cdef bint is_connected(self) noexcept nogil
    cdef void flush_marked(self) noexcept nogil
    cdef int wait(self, epoll_event *events, int64_t until_ns, int64_t spin_ns) noexcept nogil
