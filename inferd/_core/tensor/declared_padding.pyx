# cython: language_level=3, boundscheck=False, wraparound=False
# declared_padding: what a configuration says of unequal lengths, checked against a model's inputs and outputs (see declared_padding.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from inferd._core.tensor.datatypes cimport BF16, BYTES, INVALID, dtype_of, number_of
from inferd._core.tensor.padding cimport MAX_BUCKETS, Cut, Mask, Padding
from inferd._core.tensor.shown cimport shown_list, shown_tensor, word_text
from inferd._core.tensor.view cimport MAX_RANK, TensorSpec

import numpy

from inferd.errors import ConfigError


cdef int element_of(str where, double value, int datatype, char *element) except -1:
    """One element of that value, in room for the widest. Raises ConfigError where the datatype does not hold it."""
    cdef bytes encoded
    dtype = dtype_of(datatype)
    with numpy.errstate(all="ignore"):
        array = numpy.array(value).astype(numpy.float32 if datatype == BF16 else dtype)
    encoded = array.tobytes()[2:] if datatype == BF16 else array.tobytes()      # bfloat16 is the upper half of an FP32
    held = array.astype(numpy.float64)
    if datatype == BF16 or dtype.kind == "f":
        fits = numpy.isfinite(held) or not numpy.isfinite(value)
    else:
        fits = held == value
    if not fits:
        raise ConfigError(f"{where}: {word_text(datatype)} does not hold the value {value}: choose one that it holds")
    memcpy(element, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
    return 0


cdef int place_of(str where, str name, tuple names) except -1:
    if name not in names:
        raise ConfigError(f"{where}: '{name}' is not there; there is {shown_list([repr(known) for known in names])}")
    return names.index(name)


cdef int declare_paddings(str model, dict declared, tuple names, TensorSpec *inputs, int max_batch_size, Padding *paddings) except -1:
    cdef Padding *padding
    cdef TensorSpec *spec
    cdef int index, axis
    cdef str where
    if max_batch_size == 0:
        raise ConfigError(f"{model}: padding needs a batch axis, and max_batch_size is 0: set it, or remove the padding")
    for name, (declared_axis, value, buckets, left) in declared.items():
        where = f"{model}: padding of input '{name}'"
        index = place_of(where, name, names)
        spec = &inputs[index]
        padding = &paddings[index]
        axis = declared_axis + 1 if 0 <= declared_axis < MAX_RANK else 0
        if spec.datatype == BYTES:
            raise ConfigError(f"{where}: BYTES cannot be filled up: remove the padding")
        if not 1 <= axis < spec.rank or spec.shape[axis] == 0:
            raise ConfigError(f"{where}: axis {declared_axis} of {shown_tensor(spec.datatype, spec.shape, spec.rank)}, the batch axis not "
                              f"counted, is not there: choose one from 0 to {spec.rank - 2}")
        if len(buckets) > MAX_BUCKETS or any([low >= high for low, high in zip((0, *buckets), buckets)]) or max(buckets, default=0) >> 31:
            raise ConfigError(f"{where}: buckets {list(buckets)}: expected at most {<int>MAX_BUCKETS} rising sizes, from 1 to 2^31 - 1")
        element_of(where, value, spec.datatype, padding.fill)
        padding.axis = axis
        padding.size = max(spec.shape[axis], 0)
        padding.left = left
        for bucket in buckets:
            padding.buckets[padding.bucket_count] = bucket
            padding.bucket_count += 1
        spec.shape[axis] = spec.row_nbytes = -1
    return 0


cdef tuple declare_masks(str model, dict declared, list made, tuple names, const Padding *paddings, Mask *masks):
    cdef Mask *mask = masks
    cdef list specs = []
    cdef str where
    cdef int64_t size
    missing = [name for name in declared if name not in [known for known, _, _ in made]]
    if missing:
        raise ConfigError(f"{model}: mask {shown_list([repr(name) for name in missing])} is not one of the inputs")
    for name, word, shape in made:
        where = f"{model}: mask '{name}'"
        mask.input = place_of(where, declared[name], names)
        size = paddings[mask.input].size
        if paddings[mask.input].axis == 0:
            raise ConfigError(f"{where}: input '{declared[name]}' is not padded: pad it, or remove the mask")
        if number_of(word) in (BYTES, INVALID) or len(shape) != 2 or shape[0] != -1 or shape[1] not in (-1, size):
            raise ConfigError(f"{where}: expected a number for each place of the padded axis, [-1,{size or -1}], got {word}{list(shape)}")
        mask.datatype = number_of(word)
        element_of(where, 1, mask.datatype, mask.one)
        specs.append((name, word, (-1, size or -1)))
        mask += 1
    return tuple(specs)


cdef int declare_cuts(str model, dict declared, tuple input_names, const Padding *paddings, tuple names, TensorSpec *outputs,
                      Cut *cuts) except -1:
    cdef Cut *cut
    cdef TensorSpec *spec
    cdef int index, axis
    cdef str where
    cdef int64_t size
    for name, (declared_axis, padded) in declared.items():
        where = f"{model}: cut of output '{name}'"
        index = place_of(where, name, names)
        spec = &outputs[index]
        cut = &cuts[index]
        cut.input = place_of(where, padded, input_names)
        size = paddings[cut.input].size
        axis = declared_axis + 1 if 0 <= declared_axis < MAX_RANK else 0
        if paddings[cut.input].axis == 0:
            raise ConfigError(f"{where}: input '{padded}' is not padded: pad it, or remove the cut")
        if spec.datatype == BYTES:
            raise ConfigError(f"{where}: BYTES cannot be cut: remove it")
        if not 1 <= axis < spec.rank or spec.shape[axis] not in (-1, size):
            raise ConfigError(f"{where}: axis {declared_axis} of {shown_tensor(spec.datatype, spec.shape, spec.rank)}, the batch axis not "
                              f"counted, is not the padded axis of '{padded}': choose the one that is as long, or remove the cut")
        cut.axis = axis
        spec.shape[axis] = spec.row_nbytes = -1
    return 0
