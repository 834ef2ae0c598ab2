# signature: what a model takes and gives, and the check of a request against it. Never in here: protobuf, queues, onnxruntime.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from inferd._core.tensor.padding cimport Cut, Mask, Padding
from inferd._core.tensor.view cimport TensorSpec, TensorView

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
    cdef int declare(self, list made) except -1
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
