# padded_copy: copies rows to places that may be longer than they are. Header-only; functions check that sizes fit before anything is
# written. Never in here: requests, queues, Python objects.

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from inferd._core.tensor.padding cimport Mask, Padding, fill_elements
from inferd._core.tensor.view cimport ArrayView, TensorView

cdef struct Pieces:             # of one input of one request
    char *to                    # where it begins
    const char *source          # `pieces` equal ones, one after the other
    Py_ssize_t nbytes           # of all of them
    Py_ssize_t fill_nbytes      # of filling, an equal part behind each piece, or in front of it
    bint left                   # in front
    Py_ssize_t pieces           # 1 or more
    const char *fill            # one element of the filling; NULL: 0
    const char *one             # a mask: this element, again and again, instead of the source; else NULL
    Py_ssize_t itemsize         # of an element


cdef inline bint place_padded(Pieces *place, const TensorView *view, const ArrayView *array, Padding *padding,
                              Py_ssize_t itemsize, int64_t first_row, int64_t rows) noexcept nogil:
    """An input whose rows may be shorter than those of the run's array, along one axis. False: it does not fit there."""
    cdef Py_ssize_t pieces = rows
    cdef Py_ssize_t unit_nbytes = itemsize                      # for 1 along the padded axis
    cdef int axis
    if view.datatype != array.datatype or view.rank != array.rank or padding.axis >= view.rank or view.shape[0] != rows or \
            first_row + rows > array.shape[0]:
        return False
    for axis in range(1, view.rank):
        if axis == padding.axis:
            if view.shape[axis] > array.shape[axis]:
                return False
            continue
        if view.shape[axis] != array.shape[axis]:
            return False
        if axis < padding.axis:
            pieces *= view.shape[axis]
        else:
            unit_nbytes *= view.shape[axis]
    if view.nbytes != pieces * view.shape[padding.axis] * unit_nbytes:
        return False
    place.to = array.data + first_row * array.row_nbytes
    place.source = view.data
    place.nbytes = view.nbytes
    place.fill_nbytes = rows * array.row_nbytes - view.nbytes
    place.left = padding.left
    place.pieces = max(pieces, <Py_ssize_t>1)
    place.fill = padding.fill
    place.one = NULL
    place.itemsize = itemsize
    return True


cdef inline bint place_mask(Pieces *place, const ArrayView *array, Mask *mask, Py_ssize_t itemsize, int64_t first_row,
                            int64_t rows, int64_t length, bint left) noexcept nogil:
    """The mask of rows that have `length` along their padded axis, `left`: at its end. False: it does not fit there."""
    if array.datatype != mask.datatype or array.rank != 2 or first_row + rows > array.shape[0] or length > array.shape[1]:
        return False
    place.to = array.data + first_row * array.row_nbytes
    place.source = NULL
    place.nbytes = rows * length * itemsize
    place.fill_nbytes = rows * array.row_nbytes - place.nbytes
    place.left = left
    place.pieces = rows
    place.fill = NULL
    place.one = mask.one
    place.itemsize = itemsize
    return True


cdef inline void place_whole(Pieces *place, char *to, const char *source, Py_ssize_t nbytes) noexcept nogil:
    """An input that is not padded."""
    place.to = to
    place.source = source
    place.nbytes = nbytes
    place.fill_nbytes = 0
    place.left = False
    place.pieces = 1
    place.fill = place.one = NULL


cdef inline void write_pieces(const Pieces *place) noexcept nogil:
    cdef Py_ssize_t pieces = place.pieces if place.fill_nbytes > 0 else 1
    cdef Py_ssize_t nbytes = place.nbytes // pieces
    cdef Py_ssize_t fill_nbytes = place.fill_nbytes // pieces
    cdef char *to = place.to
    cdef const char *source = place.source
    cdef Py_ssize_t real = fill_nbytes if place.left else 0     # where the piece and its filling begin
    cdef Py_ssize_t filling = 0 if place.left else nbytes
    while pieces > 0:
        pieces -= 1
        if place.one != NULL:
            fill_elements(to + real, nbytes, place.one, place.itemsize)
        elif nbytes > 0:
            memcpy(to + real, source, nbytes)
            source += nbytes
        fill_elements(to + filling, fill_nbytes, place.fill, place.itemsize)
        to += nbytes + fill_nbytes
