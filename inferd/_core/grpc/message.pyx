# message: the bytes of one gRPC message, from a bounded pool (see message.pxd).

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, mremap, munmap

from inferd._core.base.linux cimport pthread_create, pthread_detach, pthread_t

from inferd.errors import InvalidArgument, ResourceExhausted

cdef extern from *:
    int __builtin_clzl(unsigned long number) nogil

    int __atomic_add_fetch(int *number, int value, int order) nogil
    const int __ATOMIC_RELAXED

cdef extern from "<sys/mman.h>" nogil:
    const int MREMAP_MAYMOVE

cdef enum:
    MIN_CLASS = 9               # smallest block: 512 bytes
    CLASS_COUNT = 33            # largest block: 2 TiB, far beyond any budget
    MAPPED_CLASS = 9            # from 256 KiB on, blocks are mapped: their pages leave the process when the pool gives them up
    ASIDE_NBYTES = 8 << 20      # a thread gives a larger block back to the system, which takes milliseconds
    ASIDE_THREADS = 2           # the most such threads at a time; the caller gives back further blocks itself
    BEGUN_NBYTES = 4 << 10      # as soon as this much of a small message has come, its block has room for all of it
    BEGUN_TIMES = 8             # until then its block has room for this many times the bytes that have come
    KEPT_NBYTES = 64 << 20      # the most that is resident of free blocks, which are kept for reuse
    KEPT_BLOCK_NBYTES = 32 << 20        # the largest block that is kept
    RECEIPT_NBYTES = 16 << 20   # large messages that come, or wait for their run: more of them find no memory that is in a cache
    FREE_NBYTES = 128 << 10     # a message of this size or more leaves an eighth of the budget free, a smaller one less in proportion

cdef struct Block:              # lies at the begin of a block, in front of HEADROOM_NBYTES' prefix
    Block *next                 # the next free one of its class
    Py_ssize_t nbytes           # the size of one that leaves the process
    Py_ssize_t touched_nbytes   # the most that a message has written to it: that is resident, whoever has the block now

cdef Block *free_blocks[CLASS_COUNT]
cdef Py_ssize_t kept_of[CLASS_COUNT]    # what is resident of each class's free blocks
cdef Py_ssize_t kept_nbytes = 0         # what is resident of all free blocks
cdef Py_ssize_t used_nbytes = 0         # charged now
cdef Py_ssize_t budget_nbytes = 1 << 30 # the most that may be charged
cdef uint64_t rejected_count = 0
cdef uint64_t copied_count_nbytes = 0
cdef Py_ssize_t live_count = 0
cdef int aside_threads = 0              # threads that give a block back just now


cdef inline Py_ssize_t class_nbytes(int size_class) noexcept:
    return <Py_ssize_t>1 << (MIN_CLASS + size_class)


cdef inline int class_of(Py_ssize_t nbytes) noexcept:
    """The class of the smallest block that holds so many bytes."""
    if nbytes <= class_nbytes(0):
        return 0
    return min(64 - __builtin_clzl(<unsigned long>(nbytes - 1)) - MIN_CLASS, CLASS_COUNT - 1)


cdef inline Py_ssize_t room_nbytes(int size_class) noexcept:
    """The memory of a block: the message's room and its headroom."""
    return HEADROOM_NBYTES + class_nbytes(size_class)


cdef void *acquire_block(int size_class) noexcept:
    """A block from its free list, else from the system; NULL: there is no memory."""
    global kept_nbytes
    cdef Block *block = free_blocks[size_class]
    if block != NULL:
        free_blocks[size_class] = block.next
        kept_of[size_class] -= block.touched_nbytes
        kept_nbytes -= block.touched_nbytes
        return block
    if size_class < MAPPED_CLASS:
        block = <Block *>malloc(room_nbytes(size_class))
        if block != NULL:
            block.touched_nbytes = class_nbytes(size_class)     # by whoever had this memory before
        return block
    block = <Block *>mmap(NULL, room_nbytes(size_class), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return NULL if block == MAP_FAILED else block       # mapped memory is zero: nothing of it was touched


cdef inline Py_ssize_t most_kept() noexcept:
    """Bytes of free blocks."""
    return min(<Py_ssize_t>KEPT_NBYTES, budget_nbytes // 2)


cdef void release_block(void *memory, int size_class) noexcept:
    """Gives a block back: to its free list, or to the system where it is too large. The class that keeps the most makes room: else sizes
    that came once would leave no room for those that come now."""
    global kept_nbytes
    cdef Block *block = <Block *>memory
    cdef Py_ssize_t nbytes = block.touched_nbytes
    cdef Py_ssize_t most_nbytes = most_kept()
    cdef int hoard
    if nbytes > min(<Py_ssize_t>KEPT_BLOCK_NBYTES, most_nbytes):
        to_system(block, size_class)
        return
    while kept_nbytes + nbytes > most_nbytes:
        hoard = largest_hoard()
        to_system(acquire_block(hoard), hoard)
    block.next = free_blocks[size_class]
    free_blocks[size_class] = block
    kept_of[size_class] += nbytes
    kept_nbytes += nbytes


cdef int largest_hoard() noexcept:
    cdef int size_class, found = 0
    for size_class in range(CLASS_COUNT):
        if kept_of[size_class] > kept_of[found]:
            found = size_class
    return found


cdef void to_system(void *memory, int size_class) noexcept:
    cdef pthread_t thread
    cdef Block *block = <Block *>memory
    if size_class < MAPPED_CLASS:
        free(block)
        return
    block.nbytes = room_nbytes(size_class)
    if __atomic_add_fetch(&aside_threads, 1, __ATOMIC_RELAXED) <= ASIDE_THREADS and block.nbytes > ASIDE_NBYTES and \
            pthread_create(&thread, NULL, unmap, block) == 0:
        pthread_detach(thread)
    else:
        unmap(block)


cdef void *unmap(void *block) noexcept nogil:
    munmap(block, (<Block *>block).nbytes)
    __atomic_add_fetch(&aside_threads, -1, __ATOMIC_RELAXED)
    return NULL


cdef no_room(Py_ssize_t nbytes):
    global rejected_count
    rejected_count += 1
    return ResourceExhausted(
        f"the server holds {used_nbytes} bytes of messages and has no room for {nbytes} more under its limit of "
        f"{budget_nbytes} (message_memory_bytes), an eighth of which is for small ones; retry later, or send smaller messages",
        reason="message_memory", retry_after_ns=100_000_000,
    )


cdef no_memory():
    return ResourceExhausted("the server is out of memory; retry later", reason="memory", retry_after_ns=1_000_000_000)


cdef no_share(Share share, Py_ssize_t nbytes):
    return ResourceExhausted(
        f"this connection holds {share.nbytes} bytes of messages and has no room for {nbytes} more: one may hold {share.percent} % "
        f"(connection_memory_percent) of what the others leave free of {budget_nbytes} (message_memory_bytes); send fewer requests at "
        f"a time", reason="connection_memory", retry_after_ns=100_000_000,
    )


cdef inline Py_ssize_t left_free(Py_ssize_t nbytes) noexcept:
    """Bytes of the budget that a message of this size must leave free: the smaller it is, the fewer."""
    return (budget_nbytes >> 10) * min(nbytes, <Py_ssize_t>FREE_NBYTES) >> 10


cdef inline int charge_budget(Share share, Py_ssize_t own_nbytes, Py_ssize_t nbytes, Py_ssize_t whole_nbytes) except -1:
    """Charges `nbytes` to the budget and the share, for something that has own_nbytes already and will have whole_nbytes. A share that
    holds nothing else may exceed its percentage, so that a message larger than the share can come. The first OWN_NBYTES of a share
    always fit."""
    global used_nbytes
    if share is not None and share.nbytes + nbytes <= OWN_NBYTES:
        share.nbytes += nbytes
        used_nbytes += nbytes
        return 0
    if used_nbytes + nbytes + left_free(whole_nbytes) > budget_nbytes:
        raise no_room(nbytes)
    if share is not None:
        if share.nbytes > own_nbytes and \
                (share.nbytes + nbytes) * 100 > (budget_nbytes - used_nbytes + share.nbytes) * share.percent:
            raise no_share(share, nbytes)
        share.nbytes += nbytes
    used_nbytes += nbytes
    return 0


cdef int charge(Message message, Py_ssize_t nbytes) except -1:
    charge_budget(message.share, message.charged_nbytes, nbytes, message.nbytes)
    message.charged_nbytes += nbytes
    return 0


cdef int charge_bytes(Py_ssize_t nbytes, Share share, Py_ssize_t held_nbytes) except -1:
    charge_budget(share, 0, nbytes, held_nbytes + nbytes)
    return 0


cdef void release_bytes(Py_ssize_t nbytes, Share share) noexcept:
    global used_nbytes
    used_nbytes -= nbytes
    if share is not None:
        share.nbytes -= nbytes


cdef class Admission:

    cdef void leave(self, Message message) noexcept:
        pass

    cdef void grown(self, Message message) noexcept:
        pass


@cython.final
@cython.no_gc
cdef class Share:
    """percent: 1 to 100."""

    def __init__(self, int percent):
        self.percent = percent


@cython.freelist(256)
@cython.no_gc
cdef class Message:
    """The bytes of one message; read-only through the buffer protocol.

    Message(source) copies any bytes-like object. Raises ResourceExhausted when the process's budget for
    message memory (set_budget) is spent.
    """

    def __cinit__(self):
        global live_count
        live_count += 1
        self.block = NULL

    def __init__(self, source=b""):
        cdef Py_buffer view
        PyObject_GetBuffer(source, &view, 0)
        try:
            reserve(self, view.len)
            charge(self, class_nbytes(self.size_class))
            memcpy(self.data, view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def __dealloc__(self):
        global live_count
        live_count -= 1
        if self.standing != NO_PLACE:
            self.admission.leave(self)
        release_bytes(self.charged_nbytes, self.share)
        if self.block != NULL:
            give_back(self.block, self.size_class, self.there_nbytes)

    @staticmethod
    def wrap(bytes source not None):
        """A message over the memory of a bytes object, which it keeps alive; nothing is copied."""
        cdef Message message = Message.__new__(Message)
        message.wrapped = source
        message.data = PyBytes_AS_STRING(source)
        message.nbytes = PyBytes_GET_SIZE(source)
        return message

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a Message is read-only")
        PyBuffer_FillInfo(view, self, self.data, self.nbytes, 1, flags)

    def __releasebuffer__(self, Py_buffer *view):
        pass


cdef inline int reserve(Message message, Py_ssize_t nbytes) except -1:
    cdef int size_class = class_of(nbytes)
    message.block = acquire_block(size_class)
    if message.block == NULL:
        raise no_memory()
    message.size_class = size_class
    message.data = <char *>message.block + HEADROOM_NBYTES
    message.nbytes = message.there_nbytes = nbytes
    return 0


cdef inline void give_back(void *block, int size_class, Py_ssize_t touched_nbytes) noexcept:
    (<Block *>block).touched_nbytes = max((<Block *>block).touched_nbytes, touched_nbytes)
    release_block(block, size_class)


cdef Message new_message(Py_ssize_t nbytes, Share share=None):
    cdef Message message = Message.__new__(Message)
    message.share = share
    reserve(message, nbytes)
    charge(message, class_nbytes(message.size_class))
    return message


cdef Message work_message(Py_ssize_t nbytes, Share share, Py_ssize_t own_nbytes):
    cdef Message message = Message.__new__(Message)
    cdef Py_ssize_t block_nbytes
    message.share = share
    reserve(message, nbytes)
    block_nbytes = class_nbytes(message.size_class)
    charge_budget(share, own_nbytes + OWN_NBYTES, block_nbytes, message.nbytes)
    message.charged_nbytes = block_nbytes
    return message


cdef bint fits_budget(Py_ssize_t nbytes) noexcept:
    return nbytes + left_free(nbytes) <= budget_nbytes


cdef inline Py_ssize_t begun_nbytes(Message message, Py_ssize_t there_nbytes) noexcept:
    """The room of its block when so many bytes of the message are there."""
    if message.standing == WAITING:
        return max(there_nbytes, min(BEGUN_TIMES * there_nbytes, <Py_ssize_t>SMALL_NBYTES))
    return message.nbytes if there_nbytes >= BEGUN_NBYTES else min(message.nbytes, BEGUN_TIMES * there_nbytes)


cdef Message awaited_message(Py_ssize_t nbytes):
    cdef Message message = Message.__new__(Message)
    message.nbytes = nbytes
    return message


cdef int append_bytes(Message message, const char *more, Py_ssize_t nbytes) except -1:
    cdef Py_ssize_t there_nbytes = message.there_nbytes + nbytes
    if there_nbytes > message.nbytes:
        message.nbytes = there_nbytes
        if message.admission is not None:
            message.admission.grown(message)
    if message.block == NULL or there_nbytes > class_nbytes(message.size_class):
        enlarge(message, begun_nbytes(message, there_nbytes))
    if there_nbytes > message.charged_nbytes:
        charge(message, there_nbytes - message.charged_nbytes)
    memcpy(message.data + message.there_nbytes, more, nbytes)
    message.there_nbytes = there_nbytes
    return 0


cdef int reserve_whole(Message message) except -1:
    if message.nbytes > message.charged_nbytes:
        charge(message, message.nbytes - message.charged_nbytes)
    if message.block == NULL or message.nbytes > class_nbytes(message.size_class):
        enlarge(message, message.nbytes)
    return 0


cdef void release_rest(Message message) noexcept:
    cdef Py_ssize_t resident_nbytes = message.there_nbytes
    if message.block != NULL:
        resident_nbytes = max(resident_nbytes, (<Block *>message.block).touched_nbytes)
    if resident_nbytes < message.charged_nbytes:
        release_bytes(message.charged_nbytes - resident_nbytes, message.share)
        message.charged_nbytes = resident_nbytes


cdef int check_room(Message message) except -1:
    if used_nbytes + message.nbytes - message.charged_nbytes + left_free(message.nbytes) > budget_nbytes:
        raise no_room(message.nbytes)
    return 0


cdef Py_ssize_t receipt_nbytes() noexcept:
    return min(<Py_ssize_t>RECEIPT_NBYTES, budget_nbytes // 2)


cdef int enlarge(Message message, Py_ssize_t nbytes) except -1:
    """Gives the message a block for `nbytes` bytes, and charges what is resident of it. A mapped block is moved by its pages, without a
    copy and without the GIL: to move tens of thousands of pages takes milliseconds."""
    cdef int size_class = class_of(nbytes)
    cdef void *block = message.block
    cdef Py_ssize_t present_nbytes = room_nbytes(message.size_class), wanted_nbytes = room_nbytes(size_class)
    if message.block != NULL and message.size_class >= MAPPED_CLASS:
        with nogil:
            block = mremap(block, present_nbytes, wanted_nbytes, MREMAP_MAYMOVE)
        if block == MAP_FAILED:
            raise no_memory()
    else:
        block = acquire_block(size_class)
        if block == NULL:
            raise no_memory()
        if message.block != NULL:
            memcpy(<char *>block + HEADROOM_NBYTES, message.data, message.there_nbytes)
            give_back(message.block, message.size_class, message.there_nbytes)
    message.block, message.size_class = block, size_class
    message.data = <char *>block + HEADROOM_NBYTES
    if (<Block *>block).touched_nbytes > message.charged_nbytes:
        charge(message, (<Block *>block).touched_nbytes - message.charged_nbytes)
    return 0


cdef char *framed(Message message) noexcept:
    cdef unsigned char *prefix = <unsigned char *>message.data - PREFIX_NBYTES
    cdef Py_ssize_t nbytes = message.nbytes
    prefix[0] = message.compressed
    prefix[1] = (nbytes >> 24) & 0xFF
    prefix[2] = (nbytes >> 16) & 0xFF
    prefix[3] = (nbytes >> 8) & 0xFF
    prefix[4] = nbytes & 0xFF
    return <char *>prefix


cdef void count_copied(Py_ssize_t nbytes) noexcept:
    global copied_count_nbytes
    copied_count_nbytes += <uint64_t>nbytes


def set_budget(Py_ssize_t nbytes):
    """Limits the bytes that messages of this process, and all else that is charged, may hold at one time."""
    global budget_nbytes
    if nbytes <= 0:
        raise InvalidArgument(f"message memory: expected a positive number of bytes, got {nbytes}")
    budget_nbytes = nbytes


def rejected():
    """How often the budget had no room."""
    return rejected_count


def in_use():
    """Bytes that are charged now, for messages and all else."""
    return used_nbytes


def kept():
    """Resident bytes of free blocks that the pool keeps for reuse."""
    return kept_nbytes


def live():
    """Messages that exist now."""
    return live_count


def copied_nbytes():
    """Payload bytes that inferd itself copied to a model since the process began, and those of responses that got a provenance."""
    return copied_count_nbytes
