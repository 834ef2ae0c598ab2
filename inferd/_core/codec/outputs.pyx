# cython: language_level=3, boundscheck=False, wraparound=False
# outputs: the outputs that a request asks for, and its rows of each (see outputs.pxd).

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from inferd._core.batching.request cimport Request
from inferd._core.codec.classes cimport classes_of
from inferd._core.codec.wire cimport Bytes
from inferd._core.tensor.datatypes cimport BF16, BOOL, BYTES, word_of
from inferd._core.tensor.shown cimport shown, word_text
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport MAX_RANK, ArrayView, TensorSpec

from inferd.errors import Internal, InvalidArgument, ResourceExhausted


cdef int asked_output(Signature signature, const Bytes *name, int classes) except -1:
    cdef int index = signature.output_index(name.data, name.nbytes)
    if index < 0:
        names = ", ".join([f"'{each}'" for each in signature.output_names[:16]])
        raise InvalidArgument(f"model '{signature.model_name.decode()}': output '{shown(name.data, name.nbytes)}' is not an output of this "
                              f"model; it gives {names}")
    if classes > 0:
        check_classified(signature, index)
    return index | classes << CLASSES_BIT


cdef int check_classified(Signature signature, int index) except -1:
    """Raises InvalidArgument where an output has no classes."""
    cdef int datatype = signature.outputs[index].datatype
    where = f"model '{signature.model_name.decode()}': output '{signature.output_names[index]}'"
    if datatype in (BYTES, BOOL, BF16):
        raise InvalidArgument(f"{where}: class result not available for output due to unsupported type '{word_text(datatype)}'; leave the "
                              "parameter classification out")
    if signature.output_cuts != NULL and signature.output_cuts[index].axis > 0:
        raise InvalidArgument(f"{where}: class result not available for an output whose length is that of the input; leave the parameter "
                              "classification out")
    return 0


cdef int check_run(Signature signature, Tensors outputs, int64_t first_row) except -1:
    if outputs.count != signature.output_count or first_row < 0 or (first_row > 0 and not outputs.batched):
        raise Internal(f"model '{signature.model_name.decode()}': the run gave other outputs than the signature says")
    return 0


cdef not_promised(Signature signature, int index):
    return Internal(f"model '{signature.model_name.decode()}': output '{signature.output_names[index]}' is not what the model's "
                    "signature says; the server's log has the details")


cdef too_large(Signature signature, Py_ssize_t total):
    return ResourceExhausted(f"model '{signature.model_name.decode()}': the response has {total} bytes, a message holds at most "
                             f"{<int64_t>MAX_RESPONSE_NBYTES}; send fewer rows, or ask for fewer outputs")


cdef int fill_part(Part *part, Signature signature, Tensors outputs, int asked, int64_t first_row, int64_t rows) except -1:
    cdef int index = asked & (1 << CLASSES_BIT) - 1
    cdef const TensorSpec *spec = &signature.outputs[index]
    cdef ArrayView *view = &outputs.views[index]
    if view.datatype != spec.datatype or (outputs.batched and first_row + rows > view.shape[0]):
        raise not_promised(signature, index)
    if asked >> CLASSES_BIT > 0:
        outputs = classes_of(outputs, index, asked >> CLASSES_BIT, signature.labels.get(signature.output_names[index], ()))
        index = 0
        view = &outputs.views[0]
    if view.datatype == BYTES:
        outputs.serialize(index)
        part.data = view.data + view.row_offsets[first_row]
        part.nbytes = view.row_offsets[first_row + rows] - view.row_offsets[first_row]
    else:
        part.data = view.data + first_row * view.row_nbytes
        part.nbytes = rows * view.row_nbytes
    part.spec = spec
    part.view = view
    part.word = word_of(view.datatype, &part.word_nbytes)
    part.shape = view.shape
    part.pieces = 0
    return 0


cdef int cut_part(Part *part, Request request, int64_t *shape) except -1:
    cdef Signature signature = request.signature
    cdef const ArrayView *view = part.view
    cdef int64_t rows = request.entry.rows
    cdef int axis
    cdef int index = <int>(part.spec - signature.outputs)
    cdef int cut_axis = signature.output_cuts[index].axis
    cdef int64_t size = signature.cut_length(index, request.inputs)
    if cut_axis == 0:
        return 0
    if cut_axis >= view.rank or size > view.shape[cut_axis]:
        raise Internal(f"model '{signature.model_name.decode()}': output '{signature.output_names[index]}' is not as long as its input; "
                       "remove its cut from the padding in the model's configuration")
    if size == view.shape[cut_axis]:
        return 0
    memcpy(shape, view.shape, MAX_RANK * sizeof(int64_t))
    shape[cut_axis] = size
    part.shape = shape
    if part.nbytes > 0:
        part.pieces = rows
        for axis in range(1, cut_axis):
            part.pieces *= view.shape[axis]
        if signature.cut_left(index):
            part.data += part.nbytes // part.pieces // view.shape[cut_axis] * (view.shape[cut_axis] - size)
        part.nbytes = part.nbytes // view.shape[cut_axis] * size
    return 0
