# padding: how rows of unequal length share a batch. It has the declarations of axes, the sizes that they are filled up to, and the rule
# which lengths share a batch. Header-only; callers own all memory. Never in here: requests, queues, Python objects.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef enum:
    MAX_BUCKETS = 32            # sizes that one axis can be filled up to
    # Bytes of one input in a run of max_batch_size rows that are all as long as this one. A row that would need more shares a batch only
    # with rows of its own length. So no long row makes a batch of short ones much larger than itself.
    MAX_PADDED_NBYTES = 1 << 28

cdef struct Padding:            # of one input
    int axis                    # counted with the batch axis, which is never padded; 0: this input is not
    int64_t size                # the graph's own size of that axis: every row is filled up to it, and none is longer; 0: any
    int64_t[MAX_BUCKETS] buckets        # rising: rows are filled up to the least that is long enough
    int bucket_count            # rows that are longer than all of them are filled up to the longest of the batch
    char[8] fill                # one element of the filling; bytes behind it are 0
    bint left                   # the filling stands in front: what is real is the last of the axis, in masks and cut outputs, too

cdef struct Mask:               # an input of a run that is made here: 1 where its padded input is real, 0 where it was filled up
    int input                   # place of that input
    int datatype
    char[8] one                 # 1 in the mask's datatype; bytes behind it are 0

cdef struct Cut:                # of one output
    int axis                    # counted with the batch axis; 0: this output is not cut
    int input                   # the padded input whose length it is cut to


cdef inline int bucket_of(const Padding *padding, int64_t length) noexcept nogil:
    """The place of the least bucket that is long enough; bucket_count: none is."""
    cdef int i = 0
    while i < padding.bucket_count and length > padding.buckets[i]:
        i += 1
    return i


cdef inline int64_t padded_size(const Padding *padding, int64_t length) noexcept nogil:
    """The size of the axis in a run whose longest row is `length` long."""
    cdef int bucket = bucket_of(padding, length)
    if padding.size > 0:
        return padding.size
    return padding.buckets[bucket] if bucket < padding.bucket_count else length


cdef inline int part_of_octave(int64_t length, int bits) noexcept nogil:
    """The number of a length's range. Lengths from one power of two to the next are cut into 2^bits ranges. With 1 bit: 0; 1; 2; 3; 4, 5;
    6, 7; 8 to 11; 12 to 15; 16 to 23; and so on."""
    cdef int power
    if length <= 0:
        return 0
    power = 63 - __builtin_clzll(<unsigned long long>length)
    return 1 + (power << bits) + (<int>(length >> (power - bits) if power >= bits else length << (bits - power)) & ((1 << bits) - 1))


cdef inline uint64_t length_class(const Padding *padding, int64_t length, int64_t unit_nbytes) noexcept nogil:
    """Rows share a batch only with those of the same class, so that short ones do not pay for long ones. Each bucket is a class. Above the
    last, and without any, lengths of a class differ by less than half (8 to 11, 12 to 15, 16 to 23...). Each length with which
    a run could have more than MAX_PADDED_NBYTES is a class. unit_nbytes: bytes of such a run for 1 along the axis."""
    cdef int64_t size = padded_size(padding, length)
    cdef int bucket = bucket_of(padding, length)
    if padding.size > 0:
        return 0
    if size > 0 and unit_nbytes > MAX_PADDED_NBYTES // size:
        return <uint64_t>length << 1 | 1
    return <uint64_t>(bucket if bucket < padding.bucket_count else bucket + part_of_octave(length, 1)) << 1


cdef inline uint32_t near_class(const Padding *padding, int64_t length) noexcept nogil:
    """A part of a length_class, whose lengths differ by less than a quarter: they run without the others where enough of them wait. 0: all
    of the class are padded to one size, and cost the same."""
    if padding.size > 0 or bucket_of(padding, length) < padding.bucket_count:
        return 0
    return <uint32_t>part_of_octave(length, 2)


cdef inline uint64_t difference(int64_t one, int64_t other) noexcept nogil:
    """one - other as a number from 0: 0, -1, 1, -2, 2 are 0, 1, 2, 3, 4."""
    cdef int64_t apart = one - other
    return <uint64_t>apart << 1 if apart >= 0 else (<uint64_t>(-(apart + 1)) << 1 | 1)


cdef inline void fill_elements(char *to, Py_ssize_t nbytes, const char *element, Py_ssize_t itemsize) noexcept nogil:
    """`nbytes`, a multiple of itemsize, of one element, of which eight bytes are read; NULL: of zeros."""
    cdef uint64_t bits = 0
    cdef Py_ssize_t done = min(itemsize, nbytes)
    cdef Py_ssize_t step
    if element != NULL:
        memcpy(&bits, element, 8)
    if bits == 0:
        memset(to, 0, nbytes)
        return
    memcpy(to, element, done)
    while done < nbytes:
        step = min(done, nbytes - done)
        memcpy(to + done, to, step)
        done += step
