# cython: language_level=3, boundscheck=False, wraparound=False
# tensor: datatypes, views of tensors, a model's signature and the check of a request against it (see tensor.pxd).
# Never in here: protobuf, queues, onnxruntime. The machine is little-endian, as raw contents are.

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport pow
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from inferd._core.tensor.padding cimport MAX_BUCKETS, Cut, Mask, Padding, difference, length_class, near_class
from inferd._core.base.utf8 cimport is_utf8

import hashlib
import os

import numpy

from inferd.errors import ConfigError, InvalidArgument, ResourceExhausted

cdef extern from *:
    bint __builtin_mul_overflow(int64_t a, int64_t b, int64_t *product) noexcept nogil

cdef enum:
    DATATYPE_COUNT = 15
    SHOWN_NAMES = 16            # names that one error message lists
    SHOWN_CHARACTERS = 100      # of a client's own words that one error message repeats
    LARGEST_EMPTY = 0x7FFFFFFF  # bytes that the axes of a tensor without elements may stand for beside the one that is 0

cdef struct Word:
    const char *text
    Py_ssize_t nbytes
    Py_ssize_t itemsize
    uint64_t key                # the text as an integer: comparing it is one instruction

cdef Word[DATATYPE_COUNT] words
cdef list word_texts = [
    b"INVALID", b"BOOL", b"UINT8", b"UINT16", b"UINT32", b"UINT64", b"INT8", b"INT16", b"INT32", b"INT64",
    b"FP16", b"FP32", b"FP64", b"BYTES", b"BF16",
]
cdef Py_ssize_t[DATATYPE_COUNT] itemsizes = [0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 0, 2]
cdef list dtypes = [
    None, numpy.dtype("bool"), numpy.dtype("u1"), numpy.dtype("<u2"), numpy.dtype("<u4"), numpy.dtype("<u8"),
    numpy.dtype("i1"), numpy.dtype("<i2"), numpy.dtype("<i4"), numpy.dtype("<i8"),
    numpy.dtype("<f2"), numpy.dtype("<f4"), numpy.dtype("<f8"), numpy.dtype("O"), numpy.dtype("<u2"),
]
cdef dict datatype_numbers = {}
cdef bytes key_secret = os.urandom(32)      # no client can build two shapes of one hashed key

DATATYPES = {}


cdef uint64_t word_key(const char *word, Py_ssize_t nbytes) noexcept nogil:
    """Words of 4 to 6 bytes as one integer each, with their length: "FP32" is not "FP32\\0". 0 for any other length."""
    cdef uint32_t head = 0
    cdef uint64_t key
    if nbytes < 4 or nbytes > 6:
        return 0
    memcpy(&head, word, 4)
    key = head
    if nbytes > 4:
        key |= <uint64_t><uint8_t>word[4] << 32
    if nbytes > 5:
        key |= <uint64_t><uint8_t>word[5] << 40
    return key | <uint64_t>nbytes << 48


cdef void fill_words():
    cdef int i
    for i in range(DATATYPE_COUNT):
        text = word_texts[i]
        words[i].text = PyBytes_AS_STRING(text)
        words[i].nbytes = PyBytes_GET_SIZE(text)
        words[i].itemsize = itemsizes[i]
        words[i].key = word_key(words[i].text, words[i].nbytes)
        if i != INVALID:
            datatype_numbers[text.decode()] = i
            DATATYPES[text.decode()] = (i, itemsizes[i], dtypes[i])

fill_words()


cdef Py_ssize_t itemsize(int datatype) noexcept nogil:
    return itemsizes[datatype] if 0 < datatype < DATATYPE_COUNT else 0


cdef int datatype_of(const char *word, Py_ssize_t nbytes) noexcept nogil:
    cdef uint64_t key = word_key(word, nbytes)
    cdef int i
    if key == words[<int>FP32].key:
        return FP32
    if key != 0:
        for i in range(1, DATATYPE_COUNT):
            if words[i].key == key:
                return i
    return INVALID


cdef const char *word_of(int datatype, Py_ssize_t *nbytes) noexcept nogil:
    cdef int i = datatype if 0 < datatype < DATATYPE_COUNT else INVALID
    nbytes[0] = words[i].nbytes
    return words[i].text


cdef str datatype_word(int datatype):
    return word_texts[datatype if 0 < datatype < DATATYPE_COUNT else INVALID].decode()


# ---- what error messages show ----------------------------------------------------------------------------------

cdef str shown(const char *text, Py_ssize_t nbytes):
    """A client's word, cut to a bounded length."""
    cdef str name = PyUnicode_DecodeUTF8(text, min(nbytes, 4 * SHOWN_CHARACTERS), "replace")
    return name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "..."


cdef str shown_shape(const int64_t *shape, int rank):
    return "[" + ",".join([str(shape[axis]) for axis in range(rank)]) + "]"


cdef str shown_tensor(int datatype, const int64_t *shape, int rank):
    return datatype_word(datatype) + shown_shape(shape, rank)


cdef str shown_list(list names):
    """Some of the names, in quotes; how many more there are."""
    cdef str listed = ", ".join(names[:SHOWN_NAMES])
    if len(names) > SHOWN_NAMES:
        listed += f" and {len(names) - SHOWN_NAMES} more"
    return listed if names else "none"


# ---- one tensor against its spec ---------------------------------------------------------------------------------

cdef enum:
    LENGTH_NBYTES = 4           # in front of each BYTES element
    MAX_TEXTS = 1 << 17         # BYTES elements of one input of a whole batch: each becomes a Python object of some 60 bytes.
    LEAST_TEXTS = 16            # A row has its share of them, and so many in any case
    MAX_TEXT_NBYTES = 16 << 20  # of all of them together: onnxruntime converts them, and those of its outputs, with the GIL held
    LEAST_TEXT_NBYTES = 256 << 10       # of a row, likewise
    BREATH = 4096               # of them are made in one go; then other threads have their turn

cdef enum Fault:                # why a view is not what the spec takes
    FITS = 0
    WRONG_DATATYPE
    WRONG_RANK
    NEGATIVE_AXIS
    WRONG_AXIS
    NO_ROWS
    TOO_MANY_ROWS
    TOO_LARGE                   # the shape's byte size does not fit 63 bits, or that of an empty tensor's other axes a message
    WRONG_NBYTES
    CUT_ELEMENT                 # a BYTES element that ends behind the tensor
    TOO_FEW_ELEMENTS            # a BYTES tensor of fewer elements than the shape says
    TOO_MANY_ELEMENTS           # or of more, which are not counted
    TOO_MANY_TEXTS
    TOO_MUCH_TEXT
    NOT_UTF8
    ABOVE_MOST                  # an axis of any size beyond its limit
    TOO_LONG                    # longer than the size that the padded axis has in the graph


cdef Fault check_elements(const TensorView *view, int64_t expected, int64_t rows, int max_batch_size, bint binary,
                          int64_t *place) noexcept nogil:
    """Walks the elements of a BYTES tensor; place: the faulty element, or the number of elements found, or that may be."""
    cdef const char *at = view.data
    cdef const char *end = at + view.nbytes
    cdef uint32_t length
    place[0] = rows * max(MAX_TEXTS // max(max_batch_size, 1), LEAST_TEXTS)
    if expected > place[0]:
        return TOO_MANY_TEXTS
    place[0] = rows * max(MAX_TEXT_NBYTES // max(max_batch_size, 1), LEAST_TEXT_NBYTES)
    if not binary and view.nbytes - expected * LENGTH_NBYTES > place[0]:
        return TOO_MUCH_TEXT
    place[0] = 0
    while at < end:
        if end - at < 4:
            return CUT_ELEMENT
        memcpy(&length, at, 4)
        at += 4
        if length > end - at:
            return CUT_ELEMENT
        if not binary and not is_utf8(at, length):
            return NOT_UTF8
        at += length
        place[0] += 1
        if place[0] > expected:
            return TOO_MANY_ELEMENTS
    return FITS if place[0] == expected else TOO_FEW_ELEMENTS


cdef Fault check_sizes(const TensorView *view, const TensorSpec *spec, int max_batch_size, int64_t rows, int64_t *place) noexcept nogil:
    """Axes and byte size where the dims do not fix them; place: axis, element or bytes that say more about the fault.

    An axis of 0 makes no other axis free to be anything: what the model makes of them has a size, too.
    """
    cdef int64_t nbytes = rows * (itemsizes[view.datatype] if view.datatype != BYTES else LENGTH_NBYTES)
    cdef bint empty = False
    cdef int axis
    for axis in range(1 if max_batch_size > 0 else 0, spec.rank):
        if view.shape[axis] == 0:
            empty = True
        elif __builtin_mul_overflow(nbytes, view.shape[axis], &nbytes):
            return TOO_LARGE
    if empty:
        if nbytes > LARGEST_EMPTY:
            return TOO_LARGE
        nbytes = 0
    if view.datatype == BYTES:
        return check_elements(view, nbytes // LENGTH_NBYTES, rows, max_batch_size, spec.binary, place)
    if nbytes != view.nbytes:
        place[0] = nbytes
        return WRONG_NBYTES
    return FITS


cdef inline Fault check_view(const TensorView *view, const TensorSpec *spec, int max_batch_size, int64_t *place) noexcept nogil:
    cdef int64_t rows = 1
    cdef int first_axis = 0
    cdef int axis
    if view.datatype != spec.datatype:
        return WRONG_DATATYPE
    if view.rank != spec.rank:
        return WRONG_RANK
    if max_batch_size > 0:
        rows = view.shape[0]
        first_axis = 1
        place[0] = 0
        if rows <= 0:
            return NO_ROWS if rows == 0 else NEGATIVE_AXIS
        if rows > max_batch_size:
            return TOO_MANY_ROWS
    for axis in range(first_axis, spec.rank):
        if view.shape[axis] != spec.shape[axis]:
            place[0] = axis
            if view.shape[axis] < 0:
                return NEGATIVE_AXIS
            if spec.shape[axis] >= 0:
                return WRONG_AXIS
            if view.shape[axis] > spec.most[axis]:
                return ABOVE_MOST
        elif view.shape[axis] < 0:
            place[0] = axis
            return NEGATIVE_AXIS
    if spec.row_nbytes >= 0:
        place[0] = rows * spec.row_nbytes       # fits: the constructor saw to it for max_batch_size rows
        return FITS if view.nbytes == place[0] else WRONG_NBYTES
    return check_sizes(view, spec, max_batch_size, rows, place)


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


# ---- the signature -----------------------------------------------------------------------------------------------

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
            declare_paddings(self)
            self.run_input_specs += declare_masks(self, made)
            declare_cuts(self)
        for i in range(self.input_count):
            for axis in range(first_axis, self.inputs[i].rank):
                free_axes += self.inputs[i].shape[axis] < 0
            free_axes += self.input_paddings != NULL and self.input_paddings[i].axis > 0   # it has two numbers in the key
        self.key_bits = 63 // free_axes if free_axes > 0 else 63
        self.cheap_nbytes = INT64_MAX

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
    cdef str where = f"model '{signature.model_name.decode()}': "
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
    return name, datatype_word(spec.datatype), tuple([spec.shape[axis] for axis in range(spec.rank)])


cdef int fill_spec(TensorSpec *spec, word, shape, int max_batch_size, str where) except -1:
    """Datatype, shape and bytes of a row of one tensor of a model."""
    cdef int axis
    cdef int64_t row_nbytes, run_nbytes
    if word not in datatype_numbers:
        raise ConfigError(f"{where}: unknown datatype {word!r}; expected one of {', '.join(datatype_numbers)}")
    spec.datatype = datatype_numbers[word]
    if len(shape) > MAX_RANK:
        raise ConfigError(f"{where}: {len(shape)} dimensions, at most {MAX_RANK} are possible")
    spec.rank = <int>len(shape)
    for axis in range(spec.rank):
        if not -1 <= shape[axis] < 1 << 62:
            raise ConfigError(f"{where}: axis {axis} of {tuple(shape)}: expected a size, or -1 for any")
        spec.shape[axis] = shape[axis]
    if max_batch_size > 0 and (spec.rank == 0 or spec.shape[0] != -1):
        raise ConfigError(f"{where}: with max_batch_size {max_batch_size} axis 0 must be the batch (-1), got {tuple(shape)}")
    row_nbytes = itemsizes[spec.datatype]
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
    cdef int64_t unit_nbytes = max_batch_size * itemsizes[view.datatype]
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


# ---- unequal lengths -----------------------------------------------------------------------------------------------

cdef int element_of(str where, double value, int datatype, char *element) except -1:
    """One element of that value, in room for the widest. Raises ConfigError where the datatype does not hold it."""
    cdef bytes encoded
    dtype = dtypes[datatype]
    with numpy.errstate(all="ignore"):
        array = numpy.array(value).astype(numpy.float32 if datatype == BF16 else dtype)
    encoded = array.tobytes()[2:] if datatype == BF16 else array.tobytes()      # bfloat16 is the upper half of an FP32
    held = array.astype(numpy.float64)
    if datatype == BF16 or dtype.kind == "f":
        fits = numpy.isfinite(held) or not numpy.isfinite(value)
    else:
        fits = held == value
    if not fits:
        raise ConfigError(f"{where}: {datatype_word(datatype)} does not hold the value {value}: choose one that it holds")
    memcpy(element, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
    return 0


cdef int place_of(str where, str name, tuple names) except -1:
    if name not in names:
        raise ConfigError(f"{where}: '{name}' is not there; there is {shown_list([repr(known) for known in names])}")
    return names.index(name)


cdef int declare_paddings(Signature signature) except -1:
    cdef Padding *padding
    cdef TensorSpec *spec
    cdef int index, axis
    cdef str where
    if signature.max_batch_size == 0:
        raise ConfigError(f"{model_of(signature)}: padding needs a batch axis, and max_batch_size is 0: set it, or remove the padding")
    signature.input_paddings = <Padding *>calloc(signature.input_count + 1, sizeof(Padding))
    if signature.input_paddings == NULL:
        raise MemoryError
    for name, (declared_axis, value, buckets, left) in signature.paddings.items():
        where = f"{model_of(signature)}: padding of input '{name}'"
        index = place_of(where, name, signature.input_names)
        spec = &signature.inputs[index]
        padding = &signature.input_paddings[index]
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


cdef tuple declare_masks(Signature signature, list made):
    """Declares the masks, which a run has behind the inputs of requests."""
    cdef Mask *mask
    cdef list specs = []
    cdef str where
    cdef int64_t size
    missing = [name for name in signature.masks if name not in [known for known, _, _ in made]]
    if missing:
        raise ConfigError(f"{model_of(signature)}: mask {shown_list([repr(name) for name in missing])} is not one of the inputs")
    signature.run_masks = <Mask *>calloc(len(made) + 1, sizeof(Mask))
    if signature.run_masks == NULL:
        raise MemoryError
    for name, word, shape in made:
        where = f"{model_of(signature)}: mask '{name}'"
        mask = &signature.run_masks[signature.mask_count]
        mask.input = place_of(where, signature.masks[name], signature.input_names)
        size = signature.input_paddings[mask.input].size
        if signature.input_paddings[mask.input].axis == 0:
            raise ConfigError(f"{where}: input '{signature.masks[name]}' is not padded: pad it, or remove the mask")
        if word == "BYTES" or word not in datatype_numbers or len(shape) != 2 or shape[0] != -1 or shape[1] not in (-1, size):
            raise ConfigError(f"{where}: expected a number for each place of the padded axis, [-1,{size or -1}], got {word}{list(shape)}")
        mask.datatype = datatype_numbers[word]
        element_of(where, 1, mask.datatype, mask.one)
        specs.append((name, word, (-1, size or -1)))
        signature.mask_count += 1
    return tuple(specs)


cdef int declare_cuts(Signature signature) except -1:
    cdef Cut *cut
    cdef TensorSpec *spec
    cdef int index, axis
    cdef str where
    cdef int64_t size
    signature.output_cuts = <Cut *>calloc(signature.output_count + 1, sizeof(Cut))
    if signature.output_cuts == NULL:
        raise MemoryError
    for name, (declared_axis, padded) in signature.cuts.items():
        where = f"{model_of(signature)}: cut of output '{name}'"
        index = place_of(where, name, signature.output_names)
        spec = &signature.outputs[index]
        cut = &signature.output_cuts[index]
        cut.input = place_of(where, padded, signature.input_names)
        size = signature.input_paddings[cut.input].size
        axis = declared_axis + 1 if 0 <= declared_axis < MAX_RANK else 0
        if signature.input_paddings[cut.input].axis == 0:
            raise ConfigError(f"{where}: input '{padded}' is not padded: pad it, or remove the cut")
        if spec.datatype == BYTES:
            raise ConfigError(f"{where}: BYTES cannot be cut: remove it")
        if not 1 <= axis < spec.rank or spec.shape[axis] not in (-1, size):
            raise ConfigError(f"{where}: axis {declared_axis} of {shown_tensor(spec.datatype, spec.shape, spec.rank)}, the batch axis not "
                              f"counted, is not the padded axis of '{padded}': choose the one that is as long, or remove the cut")
        cut.axis = axis
        spec.shape[axis] = spec.row_nbytes = -1
    return 0


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
        word = shown(views[i].name, views[i].name_nbytes)
        if name not in signature.input_names:
            raise InvalidArgument(f"{model_of(signature)}: input '{word}' is not an input of this model; {cure}")
        if name in seen:
            raise InvalidArgument(f"{model_of(signature)}: input '{word}' is there twice; send it once")
        seen.add(name)
    missing = [f"'{name}'" for name in signature.input_names if name not in seen]
    raise InvalidArgument(f"{model_of(signature)}: input {shown_list(missing)} is missing; {cure}")


cdef int reject_rows(Signature signature, const TensorView *first, const TensorView *other) except -1:
    raise InvalidArgument(
        f"{model_of(signature)}: input '{shown(other.name, other.name_nbytes)}' has {other.shape[0]} rows, input "
        f"'{shown(first.name, first.name_nbytes)}' has {first.shape[0]}; send the same number of rows in every input")


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


cdef str fault_text(int max_batch_size, const TensorView *view, const TensorSpec *spec, Fault fault, int64_t place):
    cdef str expected = shown_tensor(spec.datatype, spec.shape, spec.rank)
    cdef str got = shown_tensor(view.datatype, view.shape, view.rank)
    cdef str shape = shown_shape(view.shape, view.rank)
    cdef str word = datatype_word(spec.datatype)
    if fault == WRONG_DATATYPE:
        hint = "" if spec.datatype == BF16 else f": in numpy .astype('{dtypes[<int>spec.datatype]}')"
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
        return (f"expected {shape} x {itemsizes[spec.datatype]} bytes of {word} = {place} bytes, got {view.nbytes} bytes; "
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
    if array.dtype != dtypes[<int>BYTES]:
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
    if word not in datatype_numbers:
        raise ValueError(f"array {index}: unknown datatype {word!r}")
    view.datatype = datatype_numbers[word]
    if view.datatype == BF16 and dtype.name == "bfloat16":
        array = array.view(dtypes[<int>BF16])        # ml_dtypes' arrays lack the buffer protocol
    elif dtype is not dtypes[view.datatype] and dtype != dtypes[view.datatype]:
        raise TypeError(f"array {index}: {word} is {dtypes[view.datatype]}, got an array of {dtype}")
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
