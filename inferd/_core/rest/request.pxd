# request: an inference that came by REST, and its response. Never in here: HTTP, how a body is read, routes, queues.

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from inferd._core.batching.request cimport Request
from inferd._core.codec.infer cimport Text
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.message cimport Message
from inferd._core.http.head cimport Head
from inferd._core.tensor.view cimport MAX_RANK

cdef enum:
    ALIGNED = 8                 # tensors of a request begin at a multiple of it

cdef struct Asked:              # an output that the request asks for
    Text name
    int output                  # as asked_output returns it: its index, and classes; set by check
    int classes
    bint binary                 # its bytes follow the JSON

@cython.final
cdef class RestRequest(Request):
    cdef readonly Head head                 # its model, its version, and how the response is to look
    cdef readonly Message message           # the body; None: the request was made of tensors
    cdef Message packed                     # what was made of the JSON: `asked`, texts, raw bytes of tensors
    cdef Text id_text                       # in `packed`; echoed in the response
    cdef Asked *asked                       # in `packed`
    cdef int asked_count                    # 0: all of the model's outputs
    cdef bint binary_output                 # so are all outputs that do not say otherwise
    cdef readonly uint64_t key              # of its parameter inferd_key, which canaries route by (base/key); 0: there is none
    cdef bint provenance                    # the response is to say what made it
    cdef bint nan_as_null                   # JSON has null for NaN and infinities
    cdef unsigned long loop_thread          # on which encode must not take long; 0: none

cdef struct Output:             # one output of a response, which holds all that writing it needs
    const char *name
    Py_ssize_t name_nbytes
    const char *word            # of its datatype
    Py_ssize_t word_nbytes
    int datatype
    int rank
    int64_t shape[MAX_RANK]
    bint binary
    bint nan_as_null
    const char *data            # raw bytes
    Py_ssize_t nbytes           # of them that the response has
    Py_ssize_t pieces           # equal ones that they come in,
    Py_ssize_t stride_nbytes    # and from the start of one to the next
    Py_ssize_t text_bound       # bytes of its text at most; 0: binary

# Takes the place of the call of a request whose response is so long that a thread writes it.
@cython.final
cdef class LateCall(Call):
    cdef Call call                          # the request's own
    cdef RestRequest request
    cdef Message data                       # raw bytes of the outputs: those of the run are gone by then. A tap may read them later
    cdef bytes outputs                      # an array of Output
    cdef object response, error             # one of them, once it was written
    cdef readonly Py_ssize_t nbytes         # as work of a message thread: bytes of the text at most
    cdef public bint cancelled
    cdef public object when_cancelled


cdef inline int64_t padded(int64_t nbytes) noexcept nogil:
    return (nbytes + ALIGNED - 1) & ~<int64_t>(ALIGNED - 1)


cdef inline Text put_name(RestRequest request, char **at, const char *text, Py_ssize_t nbytes) noexcept:
    """Copies a text into `packed`."""
    cdef Text found
    memcpy(at[0], text, nbytes)
    found.first, found.nbytes = <uint32_t>(at[0] - request.packed.data), <uint32_t>nbytes
    at[0] += nbytes
    return found
