# load_protocol: a Protocol as Python makes it (see load_protocol.pyx).

from inferd._core.load.connection cimport Protocol


cdef class LoadProtocol:
    cdef Protocol functions
    cdef list as_sent(self, list bodies)
