# message: the bytes of one gRPC message, in a block from a bounded pool. So a busy server neither calls malloc nor faults in fresh pages
# for each request, and all messages together have one limit.
# Never in here: what the bytes mean. All of it runs with the GIL held, unless a comment says otherwise: the free lists need no lock.

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

cdef enum:
    PREFIX_NBYTES = 5           # gRPC's length prefix; room for it lies in front of every message that is not wrapped
    HEADROOM_NBYTES = 64        # the room in front of a message in its block, so that the message is aligned
    OWN_NBYTES = 16 << 10       # a share may always hold this much, even beyond the budget: health checks and small requests come through
    SMALL_NBYTES = 64 << 10     # a larger message must come fast (min_message_rate)

cdef class Share:               # what the messages of one connection hold of the budget
    cdef Py_ssize_t nbytes
    cdef int percent            # the most that it may hold of what the others leave free

cdef enum Standing:             # of a message in receive admission (admission.pxd)
    NO_PLACE = 0                # it needs none: it is small, whole, or came too slowly to keep its place
    WAITING = 1                 # its client gets no credit: others come first
    ADMITTED = 2                # it holds a place, and all of it is charged

cdef class Admission:           # what admission.pyx derives from: a message that goes away tells it
    cdef void leave(self, Message message) noexcept
    cdef void grown(self, Message message) noexcept     # it is longer than was announced

cdef class Message:
    cdef char *data             # first byte of the message
    cdef Py_ssize_t nbytes      # bytes of the message
    cdef void *block            # pool block that this message owns and gives back, or NULL
    cdef int size_class         # which free list the block goes back to
    cdef Py_ssize_t there_nbytes        # bytes that have come, or were written
    cdef Py_ssize_t charged_nbytes      # what the budget is charged for it
    cdef Share share            # charged, too, or None; set before anything is charged
    cdef object wrapped         # the bytes object whose memory this message borrows, or None
    cdef bint compressed        # its bytes are compressed, as grpc-encoding says
    # Kept by `admission`.
    cdef Admission admission    # None: NO_PLACE
    cdef Standing standing
    cdef PyObject *before       # neighbours in the line that it stands in, borrowed: a message that goes away leaves it
    cdef PyObject *behind
    cdef PyObject *receiver     # the Call that it belongs to, borrowed
    cdef Py_ssize_t place_nbytes        # what its place counts; 0: it has not asked for one
    cdef int looks                      # at it, since it was admitted
    cdef uint32_t connection_id         # in whose line it waits

# A message of `nbytes` bytes whose content is undefined. Raises ResourceExhausted when the process's budget, or the share, is spent.
cdef Message new_message(Py_ssize_t nbytes, Share share=*)
# The same, for one request that holds own_nbytes already: where its connection has no other, it may exceed the percentage of its share.
cdef Message work_message(Py_ssize_t nbytes, Share share, Py_ssize_t own_nbytes)
# Whether the whole budget has room for so many bytes of one request.
cdef bint fits_budget(Py_ssize_t nbytes) noexcept

# A message of `nbytes` bytes that are still to come. It has no block yet, and nothing is charged: a client that announces much and sends
# nothing takes nothing from the others.
cdef Message awaited_message(Py_ssize_t nbytes)

# Copies `nbytes` bytes that have come. The message is charged for its resident memory: the bytes that are there, or the part of its
# block that earlier messages have touched. It grows if more bytes come than were announced, and its block may move: nothing else may
# point into it.
cdef int append_bytes(Message message, const char *more, Py_ssize_t nbytes) except -1

# Charges all of an awaited message, and gives it a block for all of it. Raises ResourceExhausted.
cdef int reserve_whole(Message message) except -1
# Takes back the charge for the part that is not resident.
cdef void release_rest(Message message) noexcept
# Raises ResourceExhausted if there is no room now for what has not come of it.
cdef int check_room(Message message) except -1

# The most bytes that admitted messages may hold together: RECEIPT_NBYTES, and half of the budget at most.
cdef Py_ssize_t receipt_nbytes() noexcept

# Charges bytes that belong to no Message, such as a task; held_nbytes are charged for the same thing already. The caller releases them.
cdef int charge_bytes(Py_ssize_t nbytes, Share share, Py_ssize_t held_nbytes) except -1
cdef void release_bytes(Py_ssize_t nbytes, Share share) noexcept

# Writes gRPC's prefix in front of the message and returns the address of the whole frame (nbytes + PREFIX_NBYTES).
cdef char *framed(Message message) noexcept

# The message in a block of the pool, copied if it is not in one: gRPC's prefix needs room in front of it.
cdef inline Message pooled(message):
    if type(message) is Message and (<Message>message).wrapped is None:
        return <Message>message
    return Message(message)

# The memory that a message keeps.
cdef inline Py_ssize_t kept_nbytes_of(Message message) noexcept:
    return max(message.charged_nbytes, message.nbytes) if message is not None else 0

# Counts payload bytes that inferd copied to a model, and those of responses that get a provenance.
cdef void count_copied(Py_ssize_t nbytes) noexcept
