# object_counters: whether this build counts live calls and sessions. The debug build (INFERD_DEBUG) does, and its suite ends with both at
# zero. In other builds the counting is compiled away. Header-only. Messages are counted in every build (grpc/message.pyx).

cdef extern from *:
    """
    #ifdef INFERD_DEBUG
    enum { COUNTED = 1 };
    #else
    enum { COUNTED = 0 };
    #endif
    """
    const bint COUNTED
