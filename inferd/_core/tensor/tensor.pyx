# cython: language_level=3, boundscheck=False, wraparound=False
# tensor: the arrays of one run, and BYTES elements between them and the wire (see tensor.pxd). The machine is little-endian, as raw
# contents are.

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from inferd._core.tensor.datatypes cimport BF16, BYTES, INVALID, dtype_of, number_of
from inferd._core.tensor.view cimport MAX_RANK, ArrayView, TensorView

cdef enum:
    BREATH = 4096               # BYTES elements that are made in one go; then other threads have their turn


# ---- BYTES elements <-> object arrays ------------------------------------------------------------------------------

cdef int fill_objects(TensorView *view, object array, Py_ssize_t first_row) except -1:
    cdef Py_buffer buffer
    cdef Py_ssize_t size = array.size
    cdef Py_ssize_t i = first_row * (size // <Py_ssize_t>len(array)) if first_row > 0 else 0
    cdef const char *at = view.data
    cdef const char *end = at + view.nbytes
    cdef uint32_t length
    cdef PyObject **slots
    cdef PyObject *old
    if array.dtype != dtype_of(BYTES):
        raise ValueError(f"BYTES elements go into an array of objects, not of {array.dtype}")
    PyObject_GetBuffer(array, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    try:
        slots = <PyObject **>buffer.buf
        while at < end:
            if i < 0 or i >= size or end - at < 4:
                raise ValueError(f"the rows do not fit an array of {size} elements")
            memcpy(&length, at, 4)
            at += 4
            if length > end - at:
                raise ValueError("a BYTES element ends behind its tensor")
            element = PyUnicode_DecodeUTF8(at, length, NULL)
            at += length
            Py_INCREF(element)              # the array's own reference
            old = slots[i]
            slots[i] = <PyObject *>element
            Py_XDECREF(old)
            i += 1
            breathe(i)
    finally:
        PyBuffer_Release(&buffer)
    return 0


cdef inline void breathe(Py_ssize_t count) noexcept:
    """Called once an element, where many are made with the GIL held."""
    if count % BREATH == BREATH - 1:
        with nogil:
            pass


cdef list encoded_elements(list elements):
    """str becomes UTF-8, bytes stay; anything else is an error of the model's backend."""
    cdef list encoded = []
    for element in elements:
        breathe(len(encoded))
        if isinstance(element, str):
            element = element.encode()
        elif not isinstance(element, bytes):
            raise TypeError(f"BYTES elements are str or bytes, not {type(element).__name__}")
        if len(element) > 0xFFFFFFFF:
            raise ValueError("a BYTES element of 4 GiB or more")
        encoded.append(element)
    return encoded


# ---- the arrays of a run -------------------------------------------------------------------------------------------

cdef int fill_view(ArrayView *view, int index, object array, object word, bint batched) except -1:
    cdef Py_buffer buffer
    cdef int axis
    cdef object dtype = array.dtype
    cdef object expected
    view.datatype = number_of(word)
    if view.datatype == INVALID:
        raise ValueError(f"array {index}: unknown datatype {word!r}")
    expected = dtype_of(view.datatype)
    if view.datatype == BF16 and dtype.name == "bfloat16":
        array = array.view(expected)            # ml_dtypes' arrays lack the buffer protocol
    elif dtype is not expected and dtype != expected:
        raise TypeError(f"array {index}: {word} is {expected}, got an array of {dtype}")
    try:
        PyObject_GetBuffer(array, &buffer, PyBUF_C_CONTIGUOUS)
    except (BufferError, ValueError):
        raise ValueError(f"array {index}: expected a C-contiguous array") from None
    if buffer.ndim > MAX_RANK:
        PyBuffer_Release(&buffer)
        raise ValueError(f"array {index}: {array.ndim} dimensions, at most {MAX_RANK} are possible")
    view.rank = buffer.ndim
    for axis in range(buffer.ndim):
        view.shape[axis] = buffer.shape[axis]
    view.row_nbytes = buffer.len
    if batched and buffer.ndim > 0 and buffer.shape[0] > 0:
        view.row_nbytes = buffer.len // buffer.shape[0]
    if view.datatype == BYTES:
        view.row_nbytes = -1
    else:
        view.data = <char *>buffer.buf
    PyBuffer_Release(&buffer)                   # the array stays in `arrays`, its memory where it is
    return 0


cdef class Tensors:
    """The input or output arrays of one run, in the signature's order.

    arrays: C-contiguous numpy arrays; datatypes: the word of each (BF16 arrays are uint16 or ml_dtypes.bfloat16; BYTES arrays hold
    objects, str or bytes). batched: axis 0 of every array is rows; rows: how many there must be (None: as many as the first
    array has). Raises ValueError or TypeError naming the array.
    """

    def __cinit__(self, arrays, datatypes, bint batched, rows=None):
        self.arrays = list(arrays)
        self.batched = batched
        self.owned = []
        self.count = <int>len(self.arrays)
        if len(datatypes) != self.count:
            raise ValueError(f"{self.count} arrays, {len(datatypes)} datatypes")
        self.views = <ArrayView *>calloc(self.count + 1, sizeof(ArrayView))
        if self.views == NULL:
            raise MemoryError
        cdef int i
        for i in range(self.count):
            fill_view(&self.views[i], i, self.arrays[i], datatypes[i], batched)
            if batched:
                expected = self.views[0].shape[0] if rows is None else rows
                if self.views[i].rank == 0 or self.views[i].shape[0] != expected:
                    raise ValueError(f"array {i}: expected {expected} rows, got shape {self.arrays[i].shape}")

    def __dealloc__(self):
        cdef int i
        if self.views != NULL:
            for i in range(self.count):
                free(self.views[i].row_offsets)
            free(self.views)

    cdef int serialize(self, int index) except -1:
        cdef ArrayView *view = &self.views[index]
        cdef Py_ssize_t rows, row, i, per_row
        cdef Py_ssize_t nbytes = 0
        cdef uint32_t length
        cdef char *at
        cdef list elements
        if view.row_offsets != NULL:
            return 0
        elements = encoded_elements(self.arrays[index].reshape(-1).tolist())
        for element in elements:
            nbytes += 4 + PyBytes_GET_SIZE(element)
        rows = view.shape[0] if self.batched else 1
        per_row = len(elements) // rows if rows > 0 else 0
        blob = PyBytes_FromStringAndSize(NULL, nbytes)
        at = PyBytes_AS_STRING(blob)
        view.row_offsets = <Py_ssize_t *>malloc((rows + 1) * sizeof(Py_ssize_t))
        if view.row_offsets == NULL:
            raise MemoryError
        view.data = at
        for row in range(rows):
            view.row_offsets[row] = at - view.data
            for i in range(row * per_row, (row + 1) * per_row):
                element = elements[i]
                length = <uint32_t>PyBytes_GET_SIZE(element)
                memcpy(at, &length, 4)
                memcpy(at + 4, PyBytes_AS_STRING(element), length)
                at += 4 + length
                breathe(i)
        view.row_offsets[rows] = at - view.data
        self.owned.append(blob)
        return 0
