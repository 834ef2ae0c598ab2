# cython: language_level=3, boundscheck=False, wraparound=False
# signature: what a model takes and gives, and the check of a request against it (see signature.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport pow
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from inferd._core.tensor.datatypes cimport BYTES, INVALID, itemsize, number_of
from inferd._core.tensor.declared_padding cimport declare_cuts, declare_masks, declare_paddings
from inferd._core.tensor.fault cimport FITS, TOO_LONG, Fault, __builtin_mul_overflow, check_view, fault_text
from inferd._core.tensor.padding cimport Cut, Mask, Padding, difference, length_class, near_class
from inferd._core.tensor.shown cimport shown, shown_list, shown_name, shown_tensor, word_text
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS, TensorSpec, TensorView

import hashlib
import os

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import ConfigError, InvalidArgument, ResourceExhausted

cdef bytes key_secret = os.urandom(32)      # no client can build two shapes of one hashed key


cdef inline bint same_name(const TensorView *view, const TensorSpec *spec) noexcept nogil:
    return view.name_nbytes == spec.name_nbytes and memcmp(view.name, spec.name, spec.name_nbytes) == 0


cdef bint bring(TensorView *views, int place, int count, const TensorSpec *spec) noexcept nogil:
    """Swaps the view of the spec's name to `place`; False when there is none."""
    cdef int i
    cdef TensorView other
    for i in range(place + 1, count):
        if same_name(&views[i], spec):
            other = views[place]
            views[place] = views[i]
            views[i] = other
            return True
    return False


cdef class Signature:
    """The inputs and outputs of one model version.

    inputs, outputs: (name, datatype word, shape) in the graph's order; -1 is an axis of any size. With max_batch_size > 0
    axis 0 of every tensor is the batch and must be -1. With 0 a request is a run and shapes hold whole. binary: names of the BYTES
    inputs whose elements need not be UTF-8. Raises ConfigError naming the tensor.

    Unequal lengths (axes counted without the batch axis):
    - paddings: input -> (axis, value, buckets, left). The requests of a batch may differ in that axis. All are filled up with `value`
      behind their content or, with `left`, in front of it. A fixed axis of `inputs` is filled up to its size. Others are filled up to
      the least of `buckets` that is long enough, else to the longest. padding.length_class decides which lengths share a batch.
      Several padded inputs are taken to have one length: requests share a batch if all these lengths differ by the same.
    - masks: one of `inputs` -> the padded input that it is the mask of. Requests do not have it: it is made for each run.
    - cuts: output -> (axis, padded input). Each request gets the axis as long as its own input is: the first part, or with `left` the
      last.
    """

    def __cinit__(self, str model_name not None, str model_version not None, inputs, outputs, int max_batch_size, *, binary=(),
                  paddings=None, masks=None, cuts=None):
        self.model_name = model_name.encode()
        self.model_version = model_version.encode()
        if max_batch_size < 0:
            raise ConfigError(f"model '{model_name}': max_batch_size: expected 0 or more, got {max_batch_size}")
        self.max_batch_size = max_batch_size
        self.owned = []
        self.labels, self.defaults = {}, {}
        self.paddings, self.masks, self.cuts = dict(paddings or {}), dict(masks or {}), dict(cuts or {})
        made = [spec for spec in inputs if spec[0] in self.masks]
        inputs = [spec for spec in inputs if spec[0] not in self.masks]
        outputs = list(outputs)
        self.inputs = specs_of(self, "input", inputs)
        self.input_count = len(inputs)
        self.outputs = specs_of(self, "output", outputs)
        self.output_count = len(outputs)
        self.input_names = tuple([name for name, _, _ in inputs])
        self.output_names = tuple([name for name, _, _ in outputs])
        self.fixed = True
        cdef int i, axis
        cdef int free_axes = 0
        cdef int first_axis = 1 if max_batch_size > 0 else 0
        for i in range(self.input_count):
            self.inputs[i].binary = self.input_names[i] in binary
            self.fixed = self.fixed and self.inputs[i].row_nbytes >= 0
        for i in range(self.output_count):
            self.fixed = self.fixed and self.outputs[i].row_nbytes >= 0
        self.run_input_specs = self.input_specs
        self.run_output_specs = self.output_specs
        if self.paddings or self.masks or self.cuts:
            self.declare(made)
        for i in range(self.input_count):
            for axis in range(first_axis, self.inputs[i].rank):
                free_axes += self.inputs[i].shape[axis] < 0
            free_axes += self.input_paddings != NULL and self.input_paddings[i].axis > 0   # it has two numbers in the key
        self.key_bits = 63 // free_axes if free_axes > 0 else 63
        self.cheap_nbytes = INT64_MAX

    cdef int declare(self, list made) except -1:
        """Declares what the configuration says of unequal lengths; made: the masks among the graph's inputs."""
        cdef str model = model_of(self)
        self.input_paddings = <Padding *>calloc(self.input_count + 1, sizeof(Padding))
        self.run_masks = <Mask *>calloc(len(made) + 1, sizeof(Mask))
        self.output_cuts = <Cut *>calloc(self.output_count + 1, sizeof(Cut))
        if self.input_paddings == NULL or self.run_masks == NULL or self.output_cuts == NULL:
            raise MemoryError
        declare_paddings(model, self.paddings, self.input_names, self.inputs, self.max_batch_size, self.input_paddings)
        self.run_input_specs += declare_masks(model, self.masks, made, self.input_names, self.input_paddings, self.run_masks)
        self.mask_count = <int>len(made)
        declare_cuts(model, self.cuts, self.input_names, self.input_paddings, self.output_names, self.outputs, self.output_cuts)

    def __dealloc__(self):
        free(self.inputs)
        free(self.outputs)
        free(self.input_paddings)
        free(self.run_masks)
        free(self.output_cuts)

    @property
    def input_specs(self):
        """(name, datatype word, shape) of every input that requests have, in the graph's order; shapes with the batch axis."""
        return tuple([described(self.input_names[i], &self.inputs[i]) for i in range(self.input_count)])

    @property
    def output_specs(self):
        """(name, datatype word, shape) of every output, in the graph's order; shapes with the batch axis."""
        return tuple([described(self.output_names[i], &self.outputs[i]) for i in range(self.output_count)])

    def limit_axis(self, int index, int axis, int64_t most):
        """From now on input `index` has at most so much along `axis`, an axis of any size, counted with the batch axis."""
        if not (0 <= index < self.input_count and 0 <= axis < self.inputs[index].rank and self.inputs[index].shape[axis] < 0):
            raise ValueError(f"input {index} has no axis {axis} of any size")
        self.inputs[index].most[axis] = most

    def limit_runs(self, int64_t most_bytes, int64_t nbytes, int64_t cost_bytes, double growth):
        """From now on no request is taken whose run is estimated to need more than most_bytes of memory. A row of `nbytes` of inputs
        needs cost_bytes; one of n times as many, n ** growth times as much. growth: 1 or more."""
        if nbytes <= 0 or cost_bytes <= 0 or growth < 1:
            raise ValueError("a run needs some memory, and not less for more")
        self.run_limit_bytes, self.known_nbytes, self.known_cost_bytes, self.growth = most_bytes, nbytes, cost_bytes, growth
        # The rows of a request cost less than one row of as many bytes.
        self.cheap_nbytes = <int64_t>min(nbytes * pow(most_bytes / <double>cost_bytes, 1 / growth), 2.0 ** 62)

    cdef int check(self, TensorView *views, int count, int64_t *rows, uint64_t *shape_key, uint32_t *near_key) except -1:
        cdef int64_t place = 0
        cdef uint64_t key = 0
        cdef bint exact = True          # the key holds every free axis in full
        cdef uint64_t part
        cdef int64_t length = -1        # of the first padded input
        cdef int i, axis
        cdef Fault fault
        cdef Padding *padding
        cdef TensorSpec *spec
        cdef int first_axis = 1 if self.max_batch_size > 0 else 0
        if count != self.input_count:
            reject_names(self, views, count)
        rows[0] = 1
        near_key[0] = 0
        for i in range(count):
            spec = &self.inputs[i]
            if not same_name(&views[i], spec) and not bring(views, i, count, spec):
                reject_names(self, views, count)
            fault = check_view(&views[i], spec, self.max_batch_size, &place)
            if fault != FITS:
                reject_view(self, &views[i], spec, fault, place)
            if first_axis:
                if views[i].shape[0] != views[0].shape[0]:
                    reject_rows(self, &views[0], &views[i])
                rows[0] = views[0].shape[0]
            if spec.row_nbytes < 0:
                for axis in range(first_axis, spec.rank):
                    if spec.shape[axis] >= 0:
                        continue
                    part = <uint64_t>views[i].shape[axis]
                    if self.input_paddings != NULL and self.input_paddings[i].axis == axis:
                        padding = &self.input_paddings[i]
                        if padding.size > 0 and views[i].shape[axis] > padding.size:
                            reject_view(self, &views[i], spec, TOO_LONG, padding.size)
                        if length < 0:
                            length = views[i].shape[axis]
                            near_key[0] = near_class(padding, length)
                        part = difference(views[i].shape[axis], length)
                        exact = exact and part >> self.key_bits == 0
                        key = (key << self.key_bits) | part
                        part = class_of(padding, &views[i], self.max_batch_size)
                    exact = exact and part >> self.key_bits == 0
                    key = (key << self.key_bits) | part
        if self.cheap_nbytes < INT64_MAX:
            reject_costly(self, views, count, rows[0])
        shape_key[0] = key if exact else hashed_key(self, views, count)
        return 0

    cdef int64_t cut_length(self, int output, const TensorView *views) noexcept:
        cdef Cut *cut
        if self.output_cuts == NULL or self.output_cuts[output].axis == 0:
            return -1
        cut = &self.output_cuts[output]
        return views[cut.input].shape[self.input_paddings[cut.input].axis]

    cdef bint cut_left(self, int output) noexcept:
        return self.output_cuts != NULL and self.output_cuts[output].axis > 0 and self.input_paddings[self.output_cuts[output].input].left

    cdef int output_index(self, const char *name, Py_ssize_t name_nbytes) noexcept:
        cdef int i
        for i in range(self.output_count):
            if self.outputs[i].name_nbytes == name_nbytes and memcmp(self.outputs[i].name, name, name_nbytes) == 0:
                return i
        return -1


cdef TensorSpec *specs_of(Signature signature, str kind, list tensors) except NULL:
    cdef TensorSpec *specs
    cdef Py_ssize_t i
    cdef int axis
    cdef str where = f"{model_of(signature)}: "
    if len(tensors) > MAX_TENSORS:
        raise ConfigError(f"{where}{len(tensors)} {kind}s, at most {MAX_TENSORS} are possible")
    specs = <TensorSpec *>calloc(len(tensors) + 1, sizeof(TensorSpec))
    if specs == NULL:
        raise MemoryError
    try:
        names = set()
        for i in range(len(tensors)):
            name, word, shape = tensors[i]
            if name in names:
                raise ConfigError(f"{where}{kind} '{name}' is there twice")
            names.add(name)
            encoded = name.encode()
            signature.owned.append(encoded)
            specs[i].name = PyBytes_AS_STRING(encoded)
            specs[i].name_nbytes = PyBytes_GET_SIZE(encoded)
            for axis in range(MAX_RANK):
                specs[i].most[axis] = INT64_MAX
            fill_spec(&specs[i], word, shape, signature.max_batch_size, f"{where}{kind} '{name}'")
    except BaseException:
        free(specs)
        raise
    return specs


cdef tuple described(str name, const TensorSpec *spec):
    return name, word_text(spec.datatype), tuple([spec.shape[axis] for axis in range(spec.rank)])


cdef int fill_spec(TensorSpec *spec, word, shape, int max_batch_size, str where) except -1:
    """Datatype, shape and bytes of a row of one tensor of a model."""
    cdef int axis
    cdef int64_t row_nbytes, run_nbytes
    spec.datatype = number_of(word)
    if spec.datatype == INVALID:
        raise ConfigError(f"{where}: unknown datatype {word!r}; expected one of {', '.join(DATATYPES)}")
    if len(shape) > MAX_RANK:
        raise ConfigError(f"{where}: {len(shape)} dimensions, at most {MAX_RANK} are possible")
    spec.rank = <int>len(shape)
    for axis in range(spec.rank):
        if not -1 <= shape[axis] < 1 << 62:
            raise ConfigError(f"{where}: axis {axis} of {tuple(shape)}: expected a size, or -1 for any")
        spec.shape[axis] = shape[axis]
    if max_batch_size > 0 and (spec.rank == 0 or spec.shape[0] != -1):
        raise ConfigError(f"{where}: with max_batch_size {max_batch_size} axis 0 must be the batch (-1), got {tuple(shape)}")
    row_nbytes = itemsize(spec.datatype)
    spec.row_nbytes = -1
    if spec.datatype == BYTES:
        return 0
    for axis in range(1 if max_batch_size > 0 else 0, spec.rank):
        if spec.shape[axis] < 0:
            return 0
        if __builtin_mul_overflow(row_nbytes, spec.shape[axis], &row_nbytes):
            raise ConfigError(f"{where}: {tuple(shape)} is more than 2^63 bytes")
    if __builtin_mul_overflow(row_nbytes, max(1, max_batch_size), &run_nbytes):
        raise ConfigError(f"{where}: {max_batch_size} rows of {tuple(shape)} are more than 2^63 bytes")
    spec.row_nbytes = row_nbytes
    return 0


cdef uint64_t class_of(const Padding *padding, const TensorView *view, int max_batch_size) noexcept nogil:
    """See length_class. The shape has passed check_view: the bytes that it stands for are those of a message."""
    cdef int64_t unit_nbytes = max_batch_size * itemsize(view.datatype)
    cdef int axis
    for axis in range(1, view.rank):
        if axis != padding.axis and __builtin_mul_overflow(unit_nbytes, view.shape[axis], &unit_nbytes):
            return <uint64_t>view.shape[padding.axis] << 1 | 1
    return length_class(padding, view.shape[padding.axis], unit_nbytes)


cdef uint64_t hashed_key(Signature signature, const TensorView *views, int count) except? 0:
    """The key of shapes too large to be packed into 63 bits: keyed, so that no client can make two shapes collide."""
    cdef int i, axis
    cdef int64_t length = -1
    cdef Padding *padding
    shapes = [[views[i].shape[axis] for axis in range(views[i].rank)] for i in range(count)]
    if signature.input_paddings != NULL:
        for i in range(count):
            padding = &signature.input_paddings[i]
            shapes[i][0] = 0                # rows
            if padding.axis > 0:
                length = views[i].shape[padding.axis] if length < 0 else length
                shapes[i][padding.axis] = (difference(views[i].shape[padding.axis], length),
                                           class_of(padding, &views[i], signature.max_batch_size))
    digest = hashlib.blake2b(repr(shapes).encode(), digest_size=8, key=key_secret).digest()
    return int.from_bytes(digest, "little") | <uint64_t>1 << 63


# ---- rejections ------------------------------------------------------------------------------------------------------

cdef str model_of(Signature signature):
    return f"model '{signature.model_name.decode()}'"


cdef int reject_names(Signature signature, const TensorView *views, int count) except -1:
    """The inputs of a request are not the model's: says which one is unknown, twice or missing."""
    cdef int i
    takes = [f"'{name}' {shown_tensor(signature.inputs[i].datatype, signature.inputs[i].shape, signature.inputs[i].rank)}"
             for i, name in enumerate(signature.input_names)]
    cure = f"it takes {shown_list(takes)}"
    seen = set()
    for i in range(count):
        name = views[i].name[:views[i].name_nbytes].decode("utf-8", "replace")
        word = shown_name(&views[i])
        if name not in signature.input_names:
            raise InvalidArgument(f"{model_of(signature)}: input '{word}' is not an input of this model; {cure}")
        if name in seen:
            raise InvalidArgument(f"{model_of(signature)}: input '{word}' is there twice; send it once")
        seen.add(name)
    missing = [f"'{name}'" for name in signature.input_names if name not in seen]
    raise InvalidArgument(f"{model_of(signature)}: input {shown_list(missing)} is missing; {cure}")


cdef int reject_rows(Signature signature, const TensorView *first, const TensorView *other) except -1:
    raise InvalidArgument(
        f"{model_of(signature)}: input '{shown_name(other)}' has {other.shape[0]} rows, input "
        f"'{shown_name(first)}' has {first.shape[0]}; send the same number of rows in every input")


cdef int reject_view(Signature signature, const TensorView *view, const TensorSpec *spec, Fault fault, int64_t place) except -1:
    raise InvalidArgument(f"{model_of(signature)}: input '{shown(spec.name, spec.name_nbytes)}': "
                          f"{fault_text(signature.max_batch_size, view, spec, fault, place)}")


cdef int reject_costly(Signature signature, const TensorView *views, int count, int64_t rows) except -1:
    """Rejects a request whose run is estimated to need too much memory."""
    cdef int64_t nbytes = 0
    cdef double cost
    cdef int i
    for i in range(count):
        nbytes += views[i].nbytes
    if nbytes <= signature.cheap_nbytes:
        return 0
    cost = rows * signature.known_cost_bytes * pow(nbytes / (rows * signature.known_nbytes), signature.growth)
    if cost <= signature.run_limit_bytes:
        return 0
    raise ResourceExhausted(
        f"{model_of(signature)}: a run of this request, {rows} row{'s' if rows > 1 else ''} and {nbytes} bytes of inputs, is estimated to "
        f"take {<int64_t>min(cost, 2.0 ** 62)} bytes of memory, and runs may take {<int64_t>signature.run_limit_bytes} (max_run_bytes): "
        "send fewer rows or smaller tensors, or have max_run_bytes raised", reason="run_memory")
