# live: whether this build counts the objects of which it must be known that none is left behind: calls, sessions, messages. The debug build
# does (INFERD_DEBUG), and its suite ends with all of them at zero; in others the counting is compiled away. Header-only.

cdef extern from *:
    """
    #ifdef INFERD_DEBUG
    enum { COUNTED = 1 };
    #else
    enum { COUNTED = 0 };
    #endif
    """
    const bint COUNTED
