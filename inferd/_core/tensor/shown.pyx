# cython: language_level=3
# shown: words of clients, datatypes and shapes, as error messages say them (see shown.pxd).

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t

from inferd._core.tensor.datatypes cimport word_of
from inferd._core.tensor.view cimport TensorView

cdef enum:
    SHOWN_NAMES = 16            # names that one error message lists
    SHOWN_CHARACTERS = 100      # of a client's own words that one error message repeats


cdef str shown(const char *text, Py_ssize_t nbytes):
    cdef str word = PyUnicode_DecodeUTF8(text, min(nbytes, <Py_ssize_t>(4 * SHOWN_CHARACTERS)), "replace")
    return word if len(word) <= SHOWN_CHARACTERS else word[:SHOWN_CHARACTERS] + "..."


cdef str shown_name(const TensorView *view):
    return shown(view.name, view.name_nbytes)


cdef str word_text(int datatype):
    cdef Py_ssize_t nbytes
    cdef const char *word = word_of(datatype, &nbytes)
    return word[:nbytes].decode()


cdef str shown_range(int datatype):
    word = word_text(datatype)
    bits = int(word.lstrip("UINT"))
    low, high = (0, 2**bits - 1) if word.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return f"{low} to {high}"


cdef str shown_shape(const int64_t *shape, int rank):
    return "[" + ",".join([str(shape[axis]) for axis in range(rank)]) + "]"


cdef str shown_tensor(int datatype, const int64_t *shape, int rank):
    return word_text(datatype) + shown_shape(shape, rank)


cdef str shown_list(list names):
    cdef str listed = ", ".join(names[:SHOWN_NAMES])
    if len(names) > SHOWN_NAMES:
        listed += f" and {len(names) - SHOWN_NAMES} more"
    return listed if names else "none"
