# shown: words of clients, datatypes and shapes, as error messages say them. Never in here: errors.

from libc.stdint cimport int64_t
from inferd._core.tensor.view cimport TensorView

# A client's word, cut to a bounded length.
cdef str shown(const char *text, Py_ssize_t nbytes)
# The name of an input.
cdef str shown_name(const TensorView *view)
# The word of a datatype.
cdef str word_text(int datatype)
# The least and the largest number of a datatype of whole numbers.
cdef str shown_range(int datatype)
# "[1,16]"
cdef str shown_shape(const int64_t *shape, int rank)
# "FP32[1,16]"
cdef str shown_tensor(int datatype, const int64_t *shape, int rank)
# Some of the names; how many more there are.
cdef str shown_list(list names)
