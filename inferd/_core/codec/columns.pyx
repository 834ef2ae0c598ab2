# cython: language_level=3, boundscheck=False, wraparound=False
"""columns: tapped requests as the columns of a record (see columns.pxd). One thread at a time works with a Columns. A row costs it about a
microsecond and the copy of its tensors; long ones are copied without the GIL."""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from inferd._core.base.idle_thread cimport IdleThread
from inferd._core.batching.request cimport Request, sent_views
from inferd._core.batching.tap cimport Tapped
from inferd._core.codec.fields cimport PARAMETERS, Input, Parameter, equals, read_input, read_parameter
from inferd._core.codec.infer cimport InferRequest
from inferd._core.codec.wire cimport Bytes, Reader, next_field, open_reader, read_bytes, skip_field
from inferd._core.grpc.message cimport Message
from inferd._core.tensor.datatypes cimport word_of
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS, TensorView

cdef enum:
    NOGIL_NBYTES = 64 << 10     # longer copies release the GIL
    LEAST_NBYTES = 512          # of a buffer
    RESPONSE_OUTPUTS = 42       # fields of a ModelInferResponse: number << 3 | wire type
    RAW_OUTPUT_CONTENTS = 50

TIMES = ("arrival_ns", "decode_ns", "queue_ns", "preprocess_ns", "execute_ns", "encode_ns", "total_ns")


@cython.final
cdef class Buffer:
    """Bytes that grow."""

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a Buffer is read-only")
        PyBuffer_FillInfo(view, self, self.data if self.nbytes > 0 else <char *>b"", self.nbytes, True, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.views -= 1

    cdef int put(self, const void *more, Py_ssize_t nbytes) except -1:
        cdef Py_ssize_t room_nbytes = self.room_nbytes
        cdef char *data
        if self.views > 0:
            raise BufferError("a Buffer that somebody looks at does not change")
        if self.nbytes + nbytes > room_nbytes:
            room_nbytes = max(2 * room_nbytes, self.nbytes + nbytes, <Py_ssize_t>LEAST_NBYTES)
            data = <char *>realloc(self.data, room_nbytes)
            if data == NULL:
                raise MemoryError
            self.data, self.room_nbytes = data, room_nbytes
        if nbytes > NOGIL_NBYTES:
            copier = self.copier
            with nogil:
                if copier is None:
                    memcpy(self.data + self.nbytes, more, nbytes)
                else:
                    copier.copy(self.data + self.nbytes, more, nbytes)
        elif nbytes > 0:
            memcpy(self.data + self.nbytes, more, nbytes)
        self.nbytes += nbytes
        return 0

    cdef int put_offset(self, int64_t offset) except -1:
        """A 32-bit one."""
        cdef int32_t narrow = <int32_t>offset
        if offset > INT32_MAX:
            raise OverflowError("a batch of a record is longer than 2 GiB")
        return self.put(&narrow, 4)

    cdef int clear(self) except -1:
        if self.views > 0:
            raise BufferError("a Buffer that somebody looks at does not change")
        self.nbytes = 0
        return 0


@cython.final
cdef class Texts:
    """A column of strings."""

    def __cinit__(self):
        self.offsets, self.data = Buffer(), Buffer()
        self.clear()

    cdef int clear(self) except -1:
        self.offsets.clear()
        self.data.clear()
        return self.offsets.put_offset(0)

    cdef int put(self, const char *text, Py_ssize_t nbytes) except -1:
        self.data.put(text, nbytes)
        return self.offsets.put_offset(self.data.nbytes)


cdef inline int put_bytes(Texts column, bytes text) except -1:
    return column.put(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef inline int put_str(Texts column, str text) except -1:
    cdef Py_ssize_t nbytes = 0
    cdef const char *data = b""
    if text is not None:
        data = PyUnicode_AsUTF8AndSize(text, &nbytes)
    return column.put(data, nbytes)


@cython.final
cdef class TensorColumns:
    """Lists of tensors."""

    def __cinit__(self):
        self.names, self.datatypes = Texts(), Texts()
        self.row_offsets, self.shape_offsets, self.sizes, self.data_offsets, self.data = Buffer(), Buffer(), Buffer(), Buffer(), Buffer()
        self.clear()

    cdef int clear(self) except -1:
        cdef int64_t zero = 0
        for buffer in (self.row_offsets, self.shape_offsets, self.sizes, self.data_offsets, self.data):
            (<Buffer>buffer).clear()
        self.names.clear()
        self.datatypes.clear()
        self.count = 0
        self.row_offsets.put_offset(0)
        self.shape_offsets.put_offset(0)
        return self.data_offsets.put(&zero, 8)

    cdef int put(self, const char *name, Py_ssize_t name_nbytes, const char *word, Py_ssize_t word_nbytes, int rank,
                 const int64_t *shape, const char *data, Py_ssize_t nbytes, dict changes) except -1:
        cdef int64_t end
        cdef bytes changed = None
        if changes is not None and (key := name[:name_nbytes].decode()) in changes:
            change = changes[key]
            if change is None:
                return 0
            changed = change(word[:word_nbytes].decode(), data[:nbytes])
            word, word_nbytes = b"BYTES", 5
            data, nbytes = PyBytes_AS_STRING(changed), PyBytes_GET_SIZE(changed)
        self.names.put(name, name_nbytes)
        self.datatypes.put(word, word_nbytes)
        self.sizes.put(shape, rank * sizeof(int64_t))
        self.shape_offsets.put_offset(self.sizes.nbytes // <Py_ssize_t>sizeof(int64_t))
        self.data.put(data, nbytes)
        end = self.data.nbytes
        self.data_offsets.put(&end, 8)
        self.count += 1
        return 0

    cdef int end_row(self) except -1:
        return self.row_offsets.put_offset(self.count)


@cython.final
cdef class Columns:
    """The rows of one batch of a record; Arrow reads its buffers in place. After an exception it holds part of a row: drop all of it.

    max_rows, max_nbytes: from then on it is `full`, and is to be written before more is added. copier: copies long tensors; else the
    thread that adds them does.
    """

    def __cinit__(self, Py_ssize_t max_rows=4096, Py_ssize_t max_nbytes=1 << 20, IdleThread copier=None):
        self.max_rows, self.max_nbytes = max_rows, max_nbytes
        self.ids, self.models, self.versions, self.arms, self.errors = Texts(), Texts(), Texts(), Texts(), Texts()
        self.codes = Buffer()
        self.times = [Buffer() for _ in TIMES]
        self.inputs, self.outputs = TensorColumns(), TensorColumns()
        self.inputs.data.copier = self.outputs.data.copier = copier

    @property
    def nbytes(self):
        """Bytes of what has no bound: tensors, ids, texts of errors."""
        return self.unbounded_nbytes()

    @property
    def full(self):
        return self.is_full(1)

    @property
    def half_full(self):
        return self.is_full(2)

    cdef bint is_full(self, int part) noexcept:
        return part * self.rows >= self.max_rows or part * self.unbounded_nbytes() >= self.max_nbytes

    cdef Py_ssize_t unbounded_nbytes(self) noexcept:
        return self.inputs.data.nbytes + self.outputs.data.nbytes + self.ids.data.nbytes + self.errors.data.nbytes

    cpdef bint enter(self):
        if self.entered:
            return False
        self.entered = True
        return True

    cpdef leave(self):
        self.entered = False

    cpdef clear(self):
        for texts in (self.ids, self.models, self.versions, self.arms, self.errors):
            (<Texts>texts).clear()
        for buffer in (self.codes, *self.times):
            (<Buffer>buffer).clear()
        self.inputs.clear()
        self.outputs.clear()
        self.rows = 0

    cpdef bint add(self, Tapped tapped, int64_t wall_offset_ns, dict changes, list outputs=None, str arm="") except -1:
        """changes: by a tensor's name: None leaves it out; a function of its datatype and bytes returns BYTES of its shape in its place.
        None: no changes. arm: of `outputs`; a ModelInferResponse says it itself (rollout_arm)."""
        cdef int64_t[7] times
        cdef int32_t code = tapped.code
        cdef Bytes id
        cdef int i
        if outputs is None and tapped.response is not None and not (
                type(tapped.response) is Message and type(tapped.request) is InferRequest):
            return False
        if self.rows == 0:
            self.began_ns = tapped.received_ns + tapped.total_ns
        self.put_inputs(tapped.request, changes)
        if outputs is not None:
            for name, word, shape, data in outputs:
                put_output(self.outputs, name.encode(), word.encode(), shape, data, changes)
            put_str(self.arms, arm)
        elif tapped.response is not None:
            self.put_response(tapped, changes)
        else:
            self.arms.put(b"", 0)
        self.outputs.end_row()
        put_bytes(self.models, tapped.request.signature.model_name)
        put_bytes(self.versions, tapped.request.signature.model_version)
        put_str(self.errors, tapped.message)
        self.codes.put(&code, 4)
        if type(tapped.request) is InferRequest:
            id = (<InferRequest>tapped.request).text((<InferRequest>tapped.request).id_text)
            self.ids.put(id.data, id.nbytes)
        else:
            put_str(self.ids, getattr(tapped.request, "id", ""))
        times[:] = [tapped.received_ns + wall_offset_ns, tapped.decode_ns, tapped.queue_ns, tapped.preprocess_ns, tapped.execute_ns,
                    tapped.encode_ns, tapped.total_ns]
        for i in range(7):
            (<Buffer>self.times[i]).put(&times[i], 8)
        self.rows += 1
        return True

    cdef int put_inputs(self, Request request, dict changes) except -1:
        cdef int count = 0
        cdef const TensorView *views = sent_views(request, &count)
        cdef const char *word
        cdef Py_ssize_t word_nbytes = 0
        cdef int i
        for i in range(count):
            word = word_of(views[i].datatype, &word_nbytes)
            self.inputs.put(views[i].name, views[i].name_nbytes, word, word_nbytes, views[i].rank, views[i].shape, views[i].data,
                            views[i].nbytes, changes)
        return self.inputs.end_row()

    cdef int put_response(self, Tapped tapped, dict changes) except -1:
        cdef Bytes[MAX_TENSORS] spans
        cdef Bytes[MAX_TENSORS] raws
        cdef Reader reader
        cdef Parameter parameter
        cdef TensorView view
        cdef Input extra
        cdef Bytes arm
        cdef uint32_t tag = 0
        cdef int found, i
        cdef int count = 0
        cdef int raw_count = 0
        cdef int parameter_count = 0
        arm.data, arm.nbytes = b"", 0
        open_reader(&reader, tapped.data, tapped.nbytes)
        while True:
            found = next_field(&reader, &tag)
            if found <= 0:
                break
            if tag == RESPONSE_OUTPUTS and count < MAX_TENSORS:
                found = read_bytes(&reader, &spans[count])
                count += 1
            elif tag == RAW_OUTPUT_CONTENTS and raw_count < MAX_TENSORS:
                found = read_bytes(&reader, &raws[raw_count])
                raw_count += 1
            elif tag == PARAMETERS:
                found = read_parameter(&reader, &parameter, &parameter_count)
                if found == 0 and equals(&parameter.key, "rollout_arm", 11):
                    arm = parameter.text
            else:
                found = skip_field(&reader, tag)
            if found < 0:
                break
        if found < 0 or count != raw_count:
            raise ValueError("a response could not be read")
        for i in range(count):
            memset(&view, 0, sizeof(view))
            if read_input(&reader, &spans[i], &view, &extra, &parameter_count) < 0:
                raise ValueError("an output of a response could not be read")
            self.outputs.put(view.name, view.name_nbytes, extra.word.data, extra.word.nbytes, view.rank, view.shape, raws[i].data,
                             raws[i].nbytes, changes)
        return self.arms.put(arm.data, arm.nbytes)


cdef int put_output(TensorColumns columns, bytes name, bytes word, tuple shape, const unsigned char[::1] data, dict changes) except -1:
    cdef int64_t[MAX_RANK] sizes
    cdef int rank = 0
    cdef const char *at = b""
    if data.shape[0] > 0:
        at = <const char *>&data[0]
    if len(shape) > MAX_RANK:
        raise ValueError(f"an output of {len(shape)} dimensions")
    for size in shape:
        sizes[rank] = size
        rank += 1
    return columns.put(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word), rank, sizes,
                       at, data.shape[0], changes)
