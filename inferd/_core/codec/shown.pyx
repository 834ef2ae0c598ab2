# cython: language_level=3
# shown: words of clients and of datatypes, as error messages say them (see shown.pxd).

from cpython.unicode cimport PyUnicode_DecodeUTF8

from inferd._core.codec.wire cimport Bytes
from inferd._core.tensor.tensor cimport TensorView, word_of

cdef enum:
    SHOWN_NBYTES = 100          # of a client's own words that an error message repeats


cdef str shown(const Bytes *text):
    cdef str word = PyUnicode_DecodeUTF8(text.data, min(text.nbytes, <Py_ssize_t>SHOWN_NBYTES), "replace")
    return word if text.nbytes <= SHOWN_NBYTES else word + "..."


cdef str shown_name(const TensorView *view):
    cdef Bytes name
    name.data = view.name
    name.nbytes = view.name_nbytes
    return shown(&name)


cdef str word_text(int datatype):
    cdef Py_ssize_t nbytes
    cdef const char *word = word_of(datatype, &nbytes)
    return word[:nbytes].decode()
