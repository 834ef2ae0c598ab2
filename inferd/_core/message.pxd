# message: the bytes of one gRPC message. Small ones live inside the object, large ones in buffers
# from a bounded pool, so that a busy server neither asks malloc nor faults in fresh pages a request.
# Never in here: what the bytes mean.

cdef enum:
    PREFIX_NBYTES = 5           # gRPC's length prefix; room for it lies in front of every message
    INLINE_NBYTES = 512         # messages up to this size need no second allocation

cdef class Message:
    cdef char *data             # first byte of the message; PREFIX_NBYTES writable bytes lie before it unless wrapped
    cdef Py_ssize_t nbytes      # bytes of the message
    cdef Py_ssize_t capacity    # bytes that fit behind data
    cdef void *block            # pool block that this message owns and gives back, or NULL
    cdef int size_class         # which free list the block goes back to
    cdef object wrapped         # the bytes object whose memory this message borrows, or None
    cdef char room[PREFIX_NBYTES + INLINE_NBYTES]

# A message with room for `nbytes` bytes, its content undefined.
# Raises ResourceExhausted when the process's budget for message memory is spent.
cdef Message new_message(Py_ssize_t nbytes)
