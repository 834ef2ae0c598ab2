# generator: the load generator's loop, as other modules extend it (see generator.pyx).

from libc.stdint cimport int64_t, uint8_t

from inferd._core.load.arrivals cimport Arrivals
from inferd._core.load.connection cimport State
from inferd._core.load.load_protocol cimport LoadProtocol


cdef class Generator:
    cdef State state
    cdef LoadProtocol protocol
    cdef list sent_bodies       # as the protocol sends them
    cdef list words             # names that responses may have: of models, of outputs
    cdef int epoll
    cdef uint8_t *buffer
    cdef Arrivals arrivals      # of an open loop

    cdef int64_t next_due(self) noexcept nogil
    cdef int64_t turn_around(self, int64_t until_ns, int64_t spin_ns) noexcept nogil
    cdef int64_t take_events(self, int64_t until_ns, int64_t spin_ns) noexcept nogil
