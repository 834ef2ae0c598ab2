# shown: words of clients and of datatypes, as error messages say them.

from inferd._core.codec.wire cimport Bytes
from inferd._core.tensor.tensor cimport TensorView

# A client's word, cut to a bounded length.
cdef str shown(const Bytes *text)
# The name of an input.
cdef str shown_name(const TensorView *view)
# The word of a datatype.
cdef str word_text(int datatype)
