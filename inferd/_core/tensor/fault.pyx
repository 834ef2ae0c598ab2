# cython: language_level=3, boundscheck=False, wraparound=False
# fault: what a client is told whose tensor is not what the model takes (see fault.pxd).

from libc.stdint cimport int64_t

from inferd._core.tensor.datatypes cimport BF16, dtype_of, itemsize
from inferd._core.tensor.shown cimport shown_shape, shown_tensor, word_text
from inferd._core.tensor.view cimport TensorSpec, TensorView


cdef str fault_text(int max_batch_size, const TensorView *view, const TensorSpec *spec, Fault fault, int64_t place):
    cdef str expected = shown_tensor(spec.datatype, spec.shape, spec.rank)
    cdef str got = shown_tensor(view.datatype, view.shape, view.rank)
    cdef str shape = shown_shape(view.shape, view.rank)
    cdef str word = word_text(spec.datatype)
    if fault == WRONG_DATATYPE:
        hint = "" if spec.datatype == BF16 else f": in numpy .astype('{dtype_of(spec.datatype)}')"
        return f"expected {expected}, got {got}; send {word}{hint}"
    if fault == WRONG_RANK:
        hint = "the first of them is the batch" if max_batch_size > 0 else "the model has no batch axis"
        return f"expected {expected}, got {got}; send {spec.rank} dimensions, {hint}"
    if fault == NEGATIVE_AXIS:
        return f"expected {expected}, got {got}; send real sizes, axis {place} is negative"
    if fault == WRONG_AXIS:
        hint = ": for more rows, export the model with a dynamic axis 0" if place == 0 and spec.rank > 1 and spec.shape[0] == 1 else ""
        return f"expected {expected}, got {got}; axis {place} must be {spec.shape[place]}{hint}"
    if fault == ABOVE_MOST:
        return (f"expected at most {spec.most[place]} along axis {place} (max_axis of the model), got {view.shape[place]}: {got}; "
                "send a smaller tensor, or have max_axis raised")
    if fault == NO_ROWS:
        return f"expected 1 to {max_batch_size} rows, got none: {got}; send at least one row"
    if fault == TOO_MANY_ROWS:
        return f"expected 1 to {max_batch_size} rows (max_batch_size), got {view.shape[0]}: {got}; split the request"
    if fault == TOO_LARGE:
        return f"expected {expected}, got {got}, which is more bytes than any message holds; send the shape of the elements sent"
    if fault == WRONG_NBYTES:
        return (f"expected {shape} x {itemsize(spec.datatype)} bytes of {word} = {place} bytes, got {view.nbytes} bytes; "
                "send as many elements as the shape says")
    if fault == CUT_ELEMENT:
        return (f"expected BYTES elements, each behind its length as 4 bytes (little-endian), but element {place} ends behind the "
                f"tensor's {view.nbytes} bytes; send the length of each element")
    if fault == TOO_LONG:
        return f"expected at most {place} along the axis that is filled up to {place}, got {got}; send less of it"
    if fault == TOO_MANY_TEXTS:
        return f"expected at most {place} BYTES elements in so many rows, got {got}; split the request, or have max_batch_size lowered"
    if fault == TOO_MUCH_TEXT:
        return f"expected at most {place} bytes of text in so many rows, got {view.nbytes}; send less, or have max_batch_size lowered"
    if fault == TOO_FEW_ELEMENTS or fault == TOO_MANY_ELEMENTS:
        found = place if fault == TOO_FEW_ELEMENTS else "more"
        return f"expected as many BYTES elements as {shape} has, got {found}; send one length and its bytes for each"
    return f"expected UTF-8 text, but element {place} is not; send UTF-8, or binary data as UINT8"
