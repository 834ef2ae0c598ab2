# cython: language_level=3
# protocol: what a connection speaks (see protocol.pxd).

from libc.stdint cimport int64_t, uint8_t
from inferd._core.net.poller cimport Polled


cdef class Protocol:
    """The protocol of one connection."""

    cdef int open(self, Polled connection, int64_t max_age_ns) except -1:
        raise NotImplementedError

    cdef int close(self) except -1:
        raise NotImplementedError

    cdef int drain(self) except -1:
        raise NotImplementedError

    cdef Py_ssize_t take(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1:
        raise NotImplementedError

    cdef int write_output(self) except -1:
        raise NotImplementedError

    cdef int take_backlogs(self) except -1:
        raise NotImplementedError

    cdef int left_while_paused(self, int64_t now_ns) except -1:
        return 0

    cdef bint end_late_calls(self, int64_t now_ns, int64_t acknowledged_nbytes, int64_t request_limit_ns,
                             int64_t response_limit_ns) except -1:
        raise NotImplementedError

    cdef bint take_keepalive_step(self, int64_t now_ns, Py_ssize_t waiting_nbytes) except -1:
        raise NotImplementedError
