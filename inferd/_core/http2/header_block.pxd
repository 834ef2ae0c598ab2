# header_block: where the header blocks of what comes begin and end, and how much of the present one is there. nghttp2 does not say: it
# holds a header that is not whole, and is silent on blocks that it ignores. The bytes are a client's, preface first; header-only.
# Never in here: HPACK, what else a frame is, clocks.

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    PREFACE_NBYTES = 24                 # "PRI * HTTP/2.0" and so on, with which a client begins
    FRAME_HEADER_NBYTES = 9
    HEADERS = 1                         # a frame's type,
    END_HEADERS = 4                     # and a flag of it

cdef struct HeaderBlock:                # zeroed: nothing has come
    uint64_t skipped_nbytes             # of the preface
    uint8_t[FRAME_HEADER_NBYTES] frame  # the header of the present frame, as far as it is there
    Py_ssize_t frame_nbytes             # so much of it
    Py_ssize_t left_nbytes              # of the frame's payload that are to come
    bint is_open                        # a block has begun and is not whole
    Py_ssize_t nbytes                   # that are there of that one
    uint64_t whole                      # blocks that were, one that came with its frame's header at once aside


cdef inline void begin_frame(HeaderBlock *block) noexcept nogil:
    cdef const uint8_t *frame = block.frame
    block.left_nbytes = frame[0] << 16 | frame[1] << 8 | frame[2]
    if frame[3] == HEADERS:             # CONTINUATION, the only frame that may follow, adds to it
        block.is_open, block.nbytes = True, 0


cdef inline void end_frame(HeaderBlock *block) noexcept nogil:
    block.frame_nbytes = 0
    if block.is_open and block.frame[4] & END_HEADERS:
        block.is_open, block.nbytes = False, 0
        block.whole += 1


cdef inline void follow(HeaderBlock *block, const uint8_t *source, Py_ssize_t nbytes) noexcept nogil:
    """So many bytes more have come."""
    cdef const uint8_t *end = source + nbytes
    cdef Py_ssize_t taken
    if block.skipped_nbytes < PREFACE_NBYTES:
        taken = min(nbytes, <Py_ssize_t>(PREFACE_NBYTES - block.skipped_nbytes))
        block.skipped_nbytes += taken
        source += taken
    while source < end:
        if block.frame_nbytes == 0 and not block.is_open and end - source >= FRAME_HEADER_NBYTES:       # most frames come whole
            taken = FRAME_HEADER_NBYTES + (source[0] << 16 | source[1] << 8 | source[2])
            if taken <= end - source and (source[3] != HEADERS or source[4] & END_HEADERS):
                source += taken
                continue
        if block.frame_nbytes < FRAME_HEADER_NBYTES:
            taken = min(end - source, FRAME_HEADER_NBYTES - block.frame_nbytes)
            memcpy(block.frame + block.frame_nbytes, source, taken)
            block.frame_nbytes += taken
            if block.frame_nbytes == FRAME_HEADER_NBYTES:
                begin_frame(block)
        else:
            taken = min(end - source, block.left_nbytes)
            block.left_nbytes -= taken
            if block.is_open:
                block.nbytes += taken
        source += taken
        if block.frame_nbytes == FRAME_HEADER_NBYTES and block.left_nbytes == 0:
            end_frame(block)
