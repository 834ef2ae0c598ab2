# cython: language_level=3
# memory: the allocator of libnghttp2 (see memory.pxd).

from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from inferd._core.base.object_counters cimport COUNTED

cdef enum:
    CLASS_STEP_NBYTES = 32      # the step between two sizes
    LARGEST_NBYTES = 512        # the largest block that is kept
    CLASS_COUNT = 17            # the number of sizes, 0 included
    HEAD_NBYTES = 16            # in front of each block, which stays aligned as malloc's are
    CLASS_NBYTES = 256 << 10    # the most that free blocks of one size take, with their heads

cdef struct Block:              # the head of a block, also while it is in use
    size_t nbytes               # its room
    Block *next                 # the next free one of its size

cdef Block *free_blocks[CLASS_COUNT]
cdef size_t[CLASS_COUNT] kept_nbytes    # what free blocks of each size take
cdef size_t most_nbytes = 0 if COUNTED else CLASS_NBYTES         # a debug build keeps none, so that sanitizers see each block go


cdef inline Block *block_of(void *memory) noexcept:
    return <Block *>(<char *>memory - HEAD_NBYTES)


cdef void *acquire(size_t nbytes, void *nothing) noexcept:
    """NULL: there is no memory."""
    cdef size_t size_class
    cdef Block *block
    if nbytes <= LARGEST_NBYTES:
        size_class = (nbytes + CLASS_STEP_NBYTES - 1) // CLASS_STEP_NBYTES
        nbytes = size_class * CLASS_STEP_NBYTES
        block = free_blocks[size_class]
        if block != NULL:
            free_blocks[size_class] = block.next
            kept_nbytes[size_class] -= HEAD_NBYTES + nbytes
            return <char *>block + HEAD_NBYTES
    elif nbytes > SIZE_MAX - HEAD_NBYTES:
        return NULL
    block = <Block *>malloc(HEAD_NBYTES + nbytes)
    if block == NULL:
        return NULL
    block.nbytes = nbytes
    return <char *>block + HEAD_NBYTES


cdef void release(void *memory, void *nothing) noexcept:
    cdef Block *block
    cdef size_t size_class
    if memory == NULL:
        return
    block = block_of(memory)
    size_class = block.nbytes // CLASS_STEP_NBYTES
    if block.nbytes <= LARGEST_NBYTES and kept_nbytes[size_class] + HEAD_NBYTES + block.nbytes <= most_nbytes:
        block.next = free_blocks[size_class]
        free_blocks[size_class] = block
        kept_nbytes[size_class] += HEAD_NBYTES + block.nbytes
    else:
        free(block)


cdef void *acquire_zeroed(size_t count, size_t each_nbytes, void *nothing) noexcept:
    cdef void *memory
    if each_nbytes > 0 and count > SIZE_MAX // each_nbytes:
        return NULL
    memory = acquire(count * each_nbytes, NULL)
    if memory != NULL:
        memset(memory, 0, count * each_nbytes)
    return memory


cdef void *resize(void *memory, size_t nbytes, void *nothing) noexcept:
    """NULL: there is no memory, and the block stays as it was. A block that gets smaller keeps its room."""
    cdef void *larger
    if memory == NULL:
        return acquire(nbytes, NULL)
    if nbytes <= block_of(memory).nbytes:
        return memory
    larger = acquire(nbytes, NULL)
    if larger != NULL:
        memcpy(larger, memory, block_of(memory).nbytes)
        release(memory, NULL)
    return larger


memory.mem_user_data = NULL
memory.malloc, memory.free, memory.calloc, memory.realloc = acquire, release, acquire_zeroed, resize


def kept():
    """Bytes of free blocks that are kept for reuse, with their heads."""
    return sum([nbytes for nbytes in kept_nbytes])


def keep(bint yes):
    """Sets whether free blocks are kept from now on, and returns whether they were before."""
    global most_nbytes
    before, most_nbytes = most_nbytes > 0, CLASS_NBYTES if yes else 0
    return before
