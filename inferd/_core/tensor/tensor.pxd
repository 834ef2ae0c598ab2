# tensor: tensors on the wire and in a model. Datatypes, views of bytes that others own,
# a model's signature and the check of a request against it. Never in here: protobuf, queues, onnxruntime.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from inferd._core.tensor.padding cimport Cut, Mask, Padding

cdef enum:
    MAX_RANK = 8                # dimensions of one tensor
    MAX_TENSORS = 256           # inputs (or outputs) of one model or request

cdef enum Datatype:             # the numbers of model_config.proto's DataType
    INVALID = 0
    BOOL = 1
    UINT8 = 2
    UINT16 = 3
    UINT32 = 4
    UINT64 = 5
    INT8 = 6
    INT16 = 7
    INT32 = 8
    INT64 = 9
    FP16 = 10
    FP32 = 11
    FP64 = 12
    BYTES = 13
    BF16 = 14

# Bytes of one element; 0 for BYTES and INVALID.
cdef Py_ssize_t itemsize(int datatype) noexcept nogil
# The datatype that a word of the wire ("FP32") names, or INVALID.
cdef int datatype_of(const char *word, Py_ssize_t nbytes) noexcept nogil
# The word of a datatype, its length in nbytes; "INVALID" for anything else.
cdef const char *word_of(int datatype, Py_ssize_t *nbytes) noexcept nogil

cdef struct TensorView:         # one tensor of a request as it lies in memory; owns nothing
    const char *name
    Py_ssize_t name_nbytes
    int datatype                # a Datatype; INVALID when the wire's word is unknown
    int rank
    int64_t shape[MAX_RANK]
    const char *data            # little-endian, row-major; BYTES elements each behind a 4-byte length
    Py_ssize_t nbytes

# Writes the elements of a BYTES view as str into a C-contiguous object array, from row `first_row` of its axis 0 on.
# The view must have passed Signature.check. Raises ValueError where they do not fit.
cdef int fill_objects(TensorView *view, object array, Py_ssize_t first_row) except -1

cdef struct TensorSpec:         # what a model takes or gives under one name
    const char *name            # owned by the Signature
    Py_ssize_t name_nbytes
    int datatype
    int rank                    # with the batch axis
    int64_t shape[MAX_RANK]     # -1: any size; shape[0] is -1 where there is a batch axis
    int64_t most[MAX_RANK]      # the largest size of an axis of any size (limit_axis)
    Py_ssize_t row_nbytes       # bytes of one row (of the whole tensor without a batch axis) where the dims fix it, else -1
    bint binary                 # BYTES: elements may be any bytes, such as a JPEG; else they are UTF-8

cdef class Signature:           # one model version's contract: its name and version, what it takes, what it gives
    cdef readonly bytes model_name      # UTF-8, as responses carry it
    cdef readonly bytes model_version
    cdef TensorSpec *inputs
    cdef readonly int input_count
    cdef TensorSpec *outputs
    cdef readonly int output_count
    cdef readonly int max_batch_size    # rows of one run at most; 0: no batch axis, a request is a run
    cdef readonly bint fixed            # every size but the rows is known and nothing is BYTES: buffers can be bound once
    cdef readonly tuple input_names     # str, in the graph's order
    cdef readonly tuple output_names
    cdef readonly tuple run_input_specs     # (name, word, shape) of a run's inputs: those of requests, in order, then masks
    cdef readonly tuple run_output_specs    # of its outputs; both with the graph's own sizes of axes that are padded or cut
    cdef readonly dict paddings         # as declared: input -> (axis, value, buckets, left)
    cdef readonly dict masks            # mask -> padded input
    cdef readonly dict cuts             # output -> (axis, padded input)
    cdef Padding *input_paddings        # one for each input; NULL: none is padded
    cdef Mask *run_masks                # in the order of run_input_specs; NULL: there is none
    cdef int mask_count
    cdef Cut *output_cuts               # one for each output; NULL: none is cut
    cdef int64_t cheap_nbytes           # of a request's inputs: so many cannot cost more than run_limit_bytes
    cdef double run_limit_bytes         # memory that runs may take (limit_runs)
    cdef double known_nbytes, known_cost_bytes, growth  # a row of known_nbytes takes known_cost_bytes in its run; growth: see limit_runs
    cdef object owned                   # bytes objects behind the names
    # For inputs that a request may leave out, by name: the shape of a row, the content of max_batch_size rows, bytes of one row.
    cdef public dict defaults
    cdef public object clients          # of a run behind preprocess steps: the Signature of its requests, whose memory they use; else None
    cdef public dict labels             # texts of an output's classes by its name, for requests that want it classified
    cdef int key_bits                   # bits of shape_key that each input axis of any size has for itself
    cdef public bytes arm               # of a rollout: rollout_arm, a field of each ModelInferResponse; None: the version is in none
    cdef public bytes provenance        # what made a response: fields of a ModelInferResponse, for those who ask; None: nothing is known
    # Puts `views` into the signature's order and checks count, names, datatypes, shapes, byte sizes and rows.
    # Sets rows (1 without a batch axis), shape_key (equal for requests that fit one batch) and near_key. Those of one near_key had better
    # run without the others where enough of them wait: padding.near_class.
    # Raises InvalidArgument naming input, expectation, what came and the cure; ResourceExhausted where the run would take too much memory.
    cdef int check(self, TensorView *views, int count, int64_t *rows, uint64_t *shape_key, uint32_t *near_key) except -1
    # The size that `output` is cut to along its cut axis, for a request of these (checked) inputs; -1: it is not cut.
    cdef int64_t cut_length(self, int output, const TensorView *views) noexcept
    # Whether the last part of that axis is kept, not the first.
    cdef bint cut_left(self, int output) noexcept
    # The place of the output of that name, or -1.
    cdef int output_index(self, const char *name, Py_ssize_t name_nbytes) noexcept

cdef struct ArrayView:          # one array of a run, rows first
    char *data                  # BYTES: the elements of all rows, each behind a 4-byte little-endian length; NULL before serialize
    int datatype
    int rank
    int64_t shape[MAX_RANK]     # of the whole array, batch axis included
    Py_ssize_t row_nbytes       # bytes from one row to the next (of the whole array without a batch axis); BYTES: -1
    Py_ssize_t *row_offsets     # BYTES only: rows + 1 offsets into data; NULL before serialize

cdef class Tensors:             # the input or the output arrays of one run; keeps the numpy arrays alive
    cdef ArrayView *views
    cdef int count
    cdef readonly list arrays   # numpy arrays (object arrays for BYTES), C-contiguous
    cdef bint batched           # axis 0 of every array is rows
    cdef object owned           # serialized BYTES blobs
    cdef dict classes           # codec's: texts of outputs that requests of this batch want classified; None between batches
    cdef object response_head   # codec's: how the last response of these outputs began, for others like it; or None
    # Serializes the BYTES array `index` into data and row_offsets, unless that was done before.
    cdef int serialize(self, int index) except -1
