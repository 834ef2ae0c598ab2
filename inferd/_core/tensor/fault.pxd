# fault: whether one tensor of a request is what its model takes, and what a client is told where it is not.

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from inferd._core.base.utf8 cimport is_utf8
from inferd._core.tensor.datatypes cimport BYTES, itemsize
from inferd._core.tensor.view cimport TensorSpec, TensorView

cdef extern from *:
    bint __builtin_mul_overflow(int64_t a, int64_t b, int64_t *product) noexcept nogil

# Says what was expected, what came, and the cure.
cdef str fault_text(int max_batch_size, const TensorView *view, const TensorSpec *spec, Fault fault, int64_t place)

cdef enum:
    LARGEST_EMPTY = 0x7FFFFFFF  # bytes that the axes of a tensor without elements may stand for beside the one that is 0
    LENGTH_NBYTES = 4           # in front of each BYTES element
    MAX_TEXTS = 1 << 17         # BYTES elements of one input of a whole batch: each becomes a Python object of some 60 bytes.
    LEAST_TEXTS = 16            # A row has its share of them, and so many in any case
    MAX_TEXT_NBYTES = 16 << 20  # of all of them together: onnxruntime converts them, and those of its outputs, with the GIL held
    LEAST_TEXT_NBYTES = 256 << 10       # of a row, likewise

cdef enum Fault:                # why a view is not what the spec takes
    FITS = 0
    WRONG_DATATYPE
    WRONG_RANK
    NEGATIVE_AXIS
    WRONG_AXIS
    NO_ROWS
    TOO_MANY_ROWS
    TOO_LARGE                   # the shape's byte size does not fit 63 bits, or that of an empty tensor's other axes a message
    WRONG_NBYTES
    CUT_ELEMENT                 # a BYTES element that ends behind the tensor
    TOO_FEW_ELEMENTS            # a BYTES tensor of fewer elements than the shape says
    TOO_MANY_ELEMENTS           # or of more, which are not counted
    TOO_MANY_TEXTS
    TOO_MUCH_TEXT
    NOT_UTF8
    ABOVE_MOST                  # an axis of any size beyond its limit
    TOO_LONG                    # longer than the size that the padded axis has in the graph


cdef inline Fault check_elements(const TensorView *view, int64_t expected, int64_t rows, int max_batch_size, bint binary,
                                 int64_t *place) noexcept nogil:
    """Walks the elements of a BYTES tensor; place: the faulty element, or the number of elements found, or that may be."""
    cdef const char *at = view.data
    cdef const char *end = at + view.nbytes
    cdef uint32_t length
    place[0] = rows * max(MAX_TEXTS // max(max_batch_size, 1), LEAST_TEXTS)
    if expected > place[0]:
        return TOO_MANY_TEXTS
    place[0] = rows * max(MAX_TEXT_NBYTES // max(max_batch_size, 1), LEAST_TEXT_NBYTES)
    if not binary and view.nbytes - expected * LENGTH_NBYTES > place[0]:
        return TOO_MUCH_TEXT
    place[0] = 0
    while at < end:
        if end - at < 4:
            return CUT_ELEMENT
        memcpy(&length, at, 4)
        at += 4
        if length > end - at:
            return CUT_ELEMENT
        if not binary and not is_utf8(at, length):
            return NOT_UTF8
        at += length
        place[0] += 1
        if place[0] > expected:
            return TOO_MANY_ELEMENTS
    return FITS if place[0] == expected else TOO_FEW_ELEMENTS


cdef inline Fault check_sizes(const TensorView *view, const TensorSpec *spec, int max_batch_size, int64_t rows,
                              int64_t *place) noexcept nogil:
    """Axes and byte size where the dims do not fix them; place: axis, element or bytes that say more about the fault.

    An axis of 0 makes no other axis free to be anything: what the model makes of them has a size, too.
    """
    cdef int64_t nbytes = rows * (itemsize(view.datatype) if view.datatype != BYTES else LENGTH_NBYTES)
    cdef bint empty = False
    cdef int axis
    for axis in range(1 if max_batch_size > 0 else 0, spec.rank):
        if view.shape[axis] == 0:
            empty = True
        elif __builtin_mul_overflow(nbytes, view.shape[axis], &nbytes):
            return TOO_LARGE
    if empty:
        if nbytes > LARGEST_EMPTY:
            return TOO_LARGE
        nbytes = 0
    if view.datatype == BYTES:
        return check_elements(view, nbytes // LENGTH_NBYTES, rows, max_batch_size, spec.binary, place)
    if nbytes != view.nbytes:
        place[0] = nbytes
        return WRONG_NBYTES
    return FITS


cdef inline Fault check_view(const TensorView *view, const TensorSpec *spec, int max_batch_size, int64_t *place) noexcept nogil:
    cdef int64_t rows = 1
    cdef int first_axis = 0
    cdef int axis
    if view.datatype != spec.datatype:
        return WRONG_DATATYPE
    if view.rank != spec.rank:
        return WRONG_RANK
    if max_batch_size > 0:
        rows = view.shape[0]
        first_axis = 1
        place[0] = 0
        if rows <= 0:
            return NO_ROWS if rows == 0 else NEGATIVE_AXIS
        if rows > max_batch_size:
            return TOO_MANY_ROWS
    for axis in range(first_axis, spec.rank):
        if view.shape[axis] != spec.shape[axis]:
            place[0] = axis
            if view.shape[axis] < 0:
                return NEGATIVE_AXIS
            if spec.shape[axis] >= 0:
                return WRONG_AXIS
            if view.shape[axis] > spec.most[axis]:
                return ABOVE_MOST
        elif view.shape[axis] < 0:
            place[0] = axis
            return NEGATIVE_AXIS
    if spec.row_nbytes >= 0:
        place[0] = rows * spec.row_nbytes       # fits: the constructor saw to it for max_batch_size rows
        return FITS if view.nbytes == place[0] else WRONG_NBYTES
    return check_sizes(view, spec, max_batch_size, rows, place)
