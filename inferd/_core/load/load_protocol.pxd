# load_protocol: ProtocolFunctions as Python makes it (see load_protocol.pyx).

from inferd._core.load.connection cimport ProtocolFunctions


cdef class LoadProtocol:
    cdef ProtocolFunctions functions
    cdef list as_sent(self, list bodies)
