# cython: language_level=3, boundscheck=False, wraparound=False
"""rows: the requests of a batch, written into a run's input arrays (see rows.pxd).

Large inputs are copied without the GIL. Sizes were checked against the signature, and are verified again against the arrays. So a fault
elsewhere is an Internal error, never a write behind an array.

Never in here: queues, what happens to a batch, outputs.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from inferd._core.batching.request cimport Request
from inferd._core.grpc.message cimport count_copied
from inferd._core.tensor.datatypes cimport BYTES, itemsize
from inferd._core.tensor.padded_copy cimport Pieces, place_mask, place_padded, place_whole, write_pieces
from inferd._core.tensor.padding cimport Mask, Padding, padded_size
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors, fill_objects
from inferd._core.tensor.view cimport ArrayView, TensorView

from inferd.errors import Internal

cdef enum:
    COPY_BLOCKS = 128           # row blocks that are verified before any of them is copied
    COPY_NOGIL_NBYTES = 65536   # at least this much is copied without the GIL: letting go of it costs more than a short copy

cdef struct Block:              # one memcpy
    char *to
    const char *from_
    Py_ssize_t nbytes


cdef int write_rows(list requests, Tensors inputs) except -1:
    cdef Block blocks[COPY_BLOCKS]
    cdef int pending = 0
    cdef int64_t first_row = 0
    cdef Request request
    cdef int i
    if requests and pads((<Request>requests[0]).signature):
        return write_padded(requests, inputs)
    for each in requests:
        request = <Request>each
        if request.input_count != inputs.count:
            raise Internal("the model's input buffers do not fit the request; this is a fault of the server")
        for i in range(inputs.count):
            if inputs.views[i].datatype == BYTES:
                write_objects(request, inputs, i, first_row)
                continue
            place_rows(&blocks[pending], &request.inputs[i], inputs, i, first_row, request.entry.rows)
            pending += 1
            if pending == COPY_BLOCKS:
                copy_blocks(blocks, pending)
                pending = 0
        first_row += request.entry.rows
    return copy_blocks(blocks, pending)


cdef inline int place_rows(Block *block, TensorView *view, Tensors arrays, int index, int64_t first_row, int64_t rows) except -1:
    """Where the bytes of one input go. Raises Internal when they do not fit there."""
    cdef ArrayView *array = &arrays.views[index]
    cdef Py_ssize_t nbytes = rows * array.row_nbytes if arrays.batched else array.row_nbytes
    if view.nbytes != nbytes or view.datatype != array.datatype or (
            first_row + rows > array.shape[0] if arrays.batched else first_row > 0):
        raise Internal(f"input {index}: {view.nbytes} bytes do not fit the model's buffer for {rows} rows; this is a fault of the server")
    block.to = array.data + (first_row * array.row_nbytes if arrays.batched else 0)
    block.from_ = view.data
    block.nbytes = nbytes
    return 0


cdef int write_objects(Request request, Tensors inputs, int index, int64_t first_row) except -1:
    try:
        fill_objects(&request.inputs[index], inputs.arrays[index], first_row)
    except ValueError as error:
        raise Internal(f"input {index}: {error}; this is a fault of the server") from None
    count_copied(request.inputs[index].nbytes)
    return 0


cdef int copy_blocks(Block *blocks, int count) except -1:
    """Copies verified blocks. Their memory belongs to requests of a batch, which holds them until it is delivered."""
    cdef Py_ssize_t total = 0
    cdef int i
    for i in range(count):
        total += blocks[i].nbytes
    if total < COPY_NOGIL_NBYTES:
        for i in range(count):
            memcpy(blocks[i].to, blocks[i].from_, blocks[i].nbytes)
    else:
        with nogil:
            for i in range(count):
                memcpy(blocks[i].to, blocks[i].from_, blocks[i].nbytes)
    count_copied(total)
    return 0


# ---- rows of unequal length ----

cdef int64_t longest(list requests, Signature signature, int index) except -1:
    cdef int axis = signature.input_paddings[index].axis
    cdef int64_t length = 0
    cdef Request request
    for request in requests:
        if index < request.input_count and axis < request.inputs[index].rank:
            length = max(length, request.inputs[index].shape[axis])
    return padded_size(&signature.input_paddings[index], length)


cdef int write_padded(list requests, Tensors inputs) except -1:
    """write_rows where some input is padded: all else is as there, and masks come behind the inputs of requests."""
    cdef Pieces[COPY_BLOCKS] pieces
    cdef Block block
    cdef int pending = 0
    cdef int64_t first_row = 0
    cdef Request request
    cdef int i
    memset(&block, 0, sizeof(Block))
    for request in requests:
        if not pads(request.signature) or request.input_count + request.signature.mask_count != inputs.count:
            raise Internal("the model's input buffers do not fit the request; this is a fault of the server")
        for i in range(inputs.count):
            if i < request.input_count and request.signature.input_paddings[i].axis == 0:
                if inputs.views[i].datatype == BYTES:
                    write_objects(request, inputs, i, first_row)
                    continue
                place_rows(&block, &request.inputs[i], inputs, i, first_row, request.entry.rows)
                place_whole(&pieces[pending], block.to, block.from_, block.nbytes)
            elif not place_unequal(&pieces[pending], request, inputs, i, first_row):
                raise Internal(f"input {i}: {request.entry.rows} rows do not fit the model's buffer; this is a fault of the server")
            pending += 1
            if pending == COPY_BLOCKS:
                copy_pieces(pieces, pending)
                pending = 0
        first_row += request.entry.rows
    return copy_pieces(pieces, pending)


cdef inline bint place_unequal(Pieces *place, Request request, Tensors arrays, int index, int64_t first_row) noexcept:
    """Where an input that is padded, or a mask, goes. False: it does not fit there."""
    cdef ArrayView *array = &arrays.views[index]
    cdef Signature signature = request.signature
    cdef const Padding *padding
    cdef Mask *mask
    if not arrays.batched:
        return False
    if index < request.input_count:
        return place_padded(place, &request.inputs[index], array, &signature.input_paddings[index], itemsize(array.datatype), first_row,
                            request.entry.rows)
    mask = &signature.run_masks[index - request.input_count]
    padding = &signature.input_paddings[mask.input]
    return place_mask(place, array, mask, itemsize(array.datatype), first_row, request.entry.rows,
                      request.inputs[mask.input].shape[padding.axis], padding.left)


cdef int copy_pieces(const Pieces *pieces, int count) except -1:
    """As copy_blocks."""
    cdef Py_ssize_t copied = 0
    cdef Py_ssize_t made = 0
    cdef int i
    for i in range(count):
        made += pieces[i].fill_nbytes
        if pieces[i].one != NULL:
            made += pieces[i].nbytes
        else:
            copied += pieces[i].nbytes
    if copied + made < COPY_NOGIL_NBYTES:
        for i in range(count):
            write_pieces(&pieces[i])
    else:
        with nogil:
            for i in range(count):
                write_pieces(&pieces[i])
    count_copied(copied)
    return 0
