# lazy_pages: zeroed memory in pages of its own, which take none of the system's until they are first touched, header-only. For what
# each model has, and few models use.

from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

cdef extern from "<sys/mman.h>" nogil:
    const int MADV_NOHUGEPAGE
    int madvise(void *address, size_t nbytes, int advice)

cdef inline void *map_zeroed(size_t nbytes) noexcept nogil:
    """NULL: there is no memory."""
    cdef void *mapped = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if mapped == MAP_FAILED:
        return NULL
    madvise(mapped, nbytes, MADV_NOHUGEPAGE)    # neighbours become one mapping: a huge page would be there for all of them. May fail
    return mapped

cdef inline void unmap(void *mapped, size_t nbytes) noexcept nogil:
    if mapped != NULL:
        munmap(mapped, nbytes)
