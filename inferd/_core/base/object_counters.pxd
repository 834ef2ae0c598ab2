# object_counters: whether this build counts live calls, sessions and messages. The debug build (INFERD_DEBUG) does, and its suite
# ends with all of them at zero. In other builds the counting is compiled away. Header-only.

cdef extern from *:
    """
    #ifdef INFERD_DEBUG
    enum { COUNTED = 1 };
    #else
    enum { COUNTED = 0 };
    #endif
    """
    const bint COUNTED
