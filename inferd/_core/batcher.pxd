# batcher: which requests run together, and when. BatchQueue is the policy: integers in, integers out, no clock,
# no lock, no thread. Batcher is the mechanism around it: one mutex, one condition, the monotonic clock.
# The mutex guards plain C memory only: no Python object is made, freed or called under it.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from inferd._core.grpc cimport Call
from inferd._core.histogram cimport Statistics
from inferd._core.tensor cimport Signature, Tensors, TensorView

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef enum:
    INLINE_INPUTS = 4           # views that a request holds without a second allocation
    SCAN_LIMIT = 1024           # waiting requests that the policy looks at to form one batch; those behind wait for the next

cdef enum EntryState:
    IDLE = 0                    # not given to a batcher yet, or answered
    WAITING = 1                 # in a queue, which holds one reference to the owner
    TAKEN = 2                   # in a batch, which holds the owner

cdef enum Admission:            # what the policy says to one more request
    ADMITTED = 0
    QUEUE_FULL = 1              # max_queue_requests wait already
    BYTES_FULL = 3              # max_queue_bytes of input wait already
    LEVEL_FULL = 2              # max_queue_size of its priority level's queue policy wait already

cdef struct Entry:              # what the queue knows of one request
    Entry *next
    Entry *previous
    int64_t rows
    uint64_t shape_key          # only entries of one key share a batch
    int64_t nbytes              # input bytes held while it waits
    int64_t deadline_ns         # monotonic; INT64_MAX: none. The queue's timeout can bring it forward
    int64_t queued_ns           # monotonic, when it was put
    int64_t timeout_ns          # how long it may wait, by its own wish; 0: no wish. Heeded where the queue policy lets it
    uint32_t priority           # 1 is first; 0 before the queue has put in its default
    int state                   # where it is now: an EntryState
    bint cancelled              # the caller went away: never run it
    void *owner                 # the Request; the queue or batch that holds the entry holds one reference
    void *batcher               # borrowed: the Batcher that holds it while it is WAITING, else NULL

cdef class Request:             # one inference on its way: rows in, one answer out
    cdef Entry entry
    cdef TensorView *inputs     # in the signature's order once checked
    cdef readonly int input_count
    cdef TensorView room[INLINE_INPUTS]
    cdef readonly Signature signature       # of the model that it is for; set by check
    cdef readonly int64_t received_ns       # monotonic, when decoding began
    cdef readonly Call call     # who asked; set by Batcher.put, None again once answered
    cdef object answer          # made by respond; given to call.reply
    cdef object error           # a RequestError; given to call.fail instead of an answer
    cdef Batch batch            # the batch that it runs in, or None
    cdef int reserve_inputs(self, int count) except -1    # room for `count` views, zeroed
    # Checks this request against a model's signature; sets rows, shape key and input bytes in `entry`.
    cpdef check(self, Signature signature)
    # The encode stage: sets `answer` from this request's rows of the run's outputs. Subclasses define it.
    cpdef respond(self, Tensors outputs, Py_ssize_t first_row)
    # The caller went away: a waiting request never runs; the last one of a running batch terminates the run.
    cpdef cancel(self)

cdef class Batch:               # requests that run together; a call belongs to it until deliver
    cdef readonly list requests             # of Request
    cdef readonly list dropped              # of Request: expired or cancelled while they waited; answered, never run
    cdef readonly int64_t rows
    cdef int64_t taken_ns, gathered_ns, executed_ns, encoded_ns      # monotonic; 0: not there yet
    cdef Statistics statistics
    cdef Batcher batcher                    # where it came from: counts what fails
    cdef readonly int alive                 # requests that somebody still waits for
    cdef bint failed                        # the run gave no outputs: nothing of it goes into the statistics
    cdef bint delivered
    cdef readonly bint terminated           # the run was told to end early
    cdef public object terminate            # called with the batch, once, when nobody waits any longer while the model runs; or None
    # Input i of the run: (rows, dims...) with a batch axis, else the one request's own shape.
    cpdef tuple input_shape(self, int index)
    cpdef gather(self, Tensors inputs)      # preprocess: writes every row once into the run's input arrays
    cpdef encode(self, Tensors outputs)     # encode: every request's answer from its rows
    cpdef fail(self, error)                 # the run failed: every request of this batch gets this RequestError
    cpdef deliver(self)                     # gives answers and errors to the calls, records the statistics; once
    cpdef bint expire(self, int64_t now_ns) # True: every deadline has passed, and the run has been told to end
    cdef answer(self, Request request, int64_t now_ns)
    cdef refuse(self, Request request, int64_t now_ns)
    cdef stop(self)                         # nobody waits any longer: terminates the run if it is going on

cdef struct Level:              # one priority level: a queue in order of arrival, and its queue policy
    Entry *first
    Entry *last
    int64_t requests
    int64_t max_requests        # max_queue_size; 0: only the queue's own limit
    int64_t timeout_ns          # default_timeout_microseconds; 0: none
    bint timeout_override       # allow_timeout_override: a request's own shorter timeout counts

cdef class BatchQueue:          # the policy; see batcher.pyx for what it promises
    cdef Level *levels          # index: priority - 1
    cdef readonly int level_count
    cdef uint32_t default_level         # priority of a request that names none, or one that is not there
    cdef int64_t max_rows
    cdef int64_t max_delay_ns
    cdef int64_t max_requests
    cdef int64_t max_nbytes             # of waiting inputs; 0: no limit
    cdef int64_t max_preferred_rows     # largest of preferred_rows, max_rows where there are none
    cdef bint *preferred                # index: rows, 0 .. max_rows; NULL: none
    cdef readonly int64_t requests      # waiting now
    cdef readonly int64_t nbytes        # of their inputs
    cdef int64_t next_deadline_ns       # no waiting entry's deadline is earlier; may be too early, never too late
    cdef dict entries                   # id -> address, of entries that Python made through `push`
    cdef int64_t last_id
    cdef int admit(self, Entry *entry, int64_t now_ns) noexcept nogil       # an Admission
    cdef void remove(self, Entry *entry) noexcept nogil
    cdef Entry *first_from(self, int level) noexcept nogil
    cdef Entry *following(self, Entry *entry) noexcept nogil
    cdef int64_t decide(self, int64_t now_ns, int *count) noexcept nogil
    cdef list freed(self, Entry *entry)
    cdef int64_t due(self, int64_t now_ns) noexcept nogil                   # when a batch is due; INT64_MAX: never
    cdef Entry *form(self, int64_t now_ns) noexcept nogil                   # the batch that is due now, linked by next; or NULL
    cdef Entry *drop_expired(self, int64_t now_ns) noexcept nogil           # linked by next, in no order; or NULL

cdef class Batcher:             # a BatchQueue between threads
    cdef readonly BatchQueue queue
    cdef readonly Statistics statistics
    cdef readonly str name              # the model, for messages
    cdef pthread_mutex_t mutex          # guards queue and the flags below where they are read without the GIL
    cdef pthread_cond_t ready           # signalled when a batch may be due
    cdef int waiting                    # threads in take that sleep
    cdef bint woken                     # one of them has been signalled and has not looked yet
    cdef int64_t alarm_ns               # a sleeper wakes by itself then, or earlier; INT64_MAX: none does
    cdef readonly int leaving           # threads in take that `dismiss` sends away once nothing waits
    cdef readonly bint closed
    cdef readonly uint64_t expired      # requests whose time ran out before they ran
    cdef readonly uint64_t cancelled    # requests whose caller went away before they were answered
    cdef readonly uint64_t failed       # requests whose run or encoding failed
    cpdef bint put(self, Request request, Call call) except? -1
    cpdef Batch poll(self)
    cpdef Batch expire(self, int64_t now_ns)
    cdef void lock(self) noexcept
    cdef bint wakes(self, int64_t now_ns) noexcept nogil
    cdef bint wait(self) noexcept nogil
    cdef full(self, int status, uint32_t priority)
    cdef int64_t retry_ns(self)
    cdef Batch batch_of(self, Entry *taken, Entry *dropped, int64_t now_ns)
    cdef bint withdraw(self, Request request) noexcept      # a waiting request was cancelled; False: it is in a batch by now
