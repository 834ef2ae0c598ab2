# cython: language_level=3, boundscheck=False, wraparound=False
# load_protocol: the protocol of a Generator's connections, as Python makes it: an Http2 (http2.pyx) or an Http1 (http1.pyx). It lives as
# long as the Generator.


cdef class LoadProtocol:
    cdef list as_sent(self, list bodies):
        """The bytes of each request behind its headers, or with them."""
        return bodies
