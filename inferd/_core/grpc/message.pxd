# message: the bytes of one gRPC message, in a block from a bounded pool, so that a busy server neither asks malloc nor faults
# in fresh pages for each request, and so that all of it together has one limit.
# Never in here: what the bytes mean. All of it runs with the GIL held, but where said: the free lists need no lock of their own.

cdef enum:
    PREFIX_NBYTES = 5           # gRPC's length prefix; room for it lies in front of every message that is not wrapped
    HEADROOM_NBYTES = 64        # what a block keeps in front of the message, so that the message is aligned
    OWN_NBYTES = 16 << 10       # a share may always hold, beyond the budget if need be: a health check comes through, and small requests
    SMALL_NBYTES = 64 << 10     # a message of more is a large one: it finds no room in what is kept free for small ones, and must come fast

cdef class Share:                # what the messages of one connection hold, beside the budget of all
    cdef Py_ssize_t nbytes
    cdef int percent            # that it may hold of what the others leave free

cdef class Message:
    cdef char *data             # first byte of the message
    cdef Py_ssize_t nbytes      # bytes of the message
    cdef void *block            # pool block that this message owns and gives back, or NULL
    cdef int size_class         # which free list the block goes back to
    cdef Py_ssize_t charged_nbytes      # what it counts for in the budget
    cdef Share share            # in which it counts, too, or None; set before anything is charged
    cdef object wrapped         # the bytes object whose memory this message borrows, or None
    cdef bint compressed        # its bytes are compressed, as the grpc-encoding that goes with it says

# A message of `nbytes` bytes whose content is undefined. Raises ResourceExhausted when the process's budget, or the share, is spent.
cdef Message new_message(Py_ssize_t nbytes, Share share=*)

# The same for bytes that are still to come, there_nbytes of them now: only what has come is charged, and has a block, so that a client
# that announces much and sends nothing takes nothing from the others.
cdef Message awaited_message(Py_ssize_t nbytes, Py_ssize_t there_nbytes)

# `nbytes` more of them: charged, and copied behind the others. The message grows where there are more than were announced. For whoever
# made the message and has shown its memory to nobody.
cdef int append_bytes(Message message, const char *more, Py_ssize_t nbytes) except -1

# Charges bytes that are no Message's, such as a task, beside held_nbytes of the same. Who charged them gives them back, once.
cdef int charge_bytes(Py_ssize_t nbytes, Share share, Py_ssize_t held_nbytes) except -1
cdef void release_bytes(Py_ssize_t nbytes, Share share) noexcept

# Writes gRPC's prefix in front of the message and returns the address of the whole frame (nbytes + PREFIX_NBYTES).
cdef char *framed(Message message) noexcept

# Adds to the count of payload bytes that inferd itself copied on their way to the model.
cdef void count_copied(Py_ssize_t nbytes) noexcept
