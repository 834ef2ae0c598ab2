# queue: which of the waiting requests run together, and when. The policy: integers in, integers out, no clock,
# no lock, no thread. Entries belong to the caller, and link themselves: nothing is allocated while they come and go.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from inferd._core.batching.run_times cimport RunTimes

cdef enum:
    SCAN_LIMIT = 1024           # waiting requests that the policy looks at to form one batch; those behind wait for the next
    RESERVE = 8                 # one part in 8 of a request's time is its reserve, for the unexpected and for the way of its response
    RESERVE_NS = 50_000_000     # the most reserve of a request that is about to run, unless the run takes longer
    NEAR_ROWS = 6               # so many rows of one near key gain more without padding than by a run together with others
    CONNECTION_SLOTS = 1024     # two connections whose numbers differ by a multiple of it share a turn. A power of 2
    MIN_RETRY_NS = 1_000_000    # a rejected client is told to wait at least this long,
    MAX_RETRY_NS = 1_000_000_000    # and at most this long

cdef enum EntryState:
    IDLE = 0                    # no batcher has it yet, or its batch was delivered
    WAITING = 1                 # in a queue, which holds one reference to the owner
    TAKEN = 2                   # in a batch, which holds the owner
    DROPPED = 3                 # the same, and it never runs: the batch rejects it

cdef enum Admission:            # the policy's decision about one more request
    ADMITTED = 0
    QUEUE_FULL = 1              # max_queue_requests wait already
    LEVEL_FULL = 2              # max_queue_size of its priority level's queue policy wait already
    BYTES_FULL = 3              # with it more than max_queue_bytes of input would wait
    WAIT_FULL = 4               # it would wait for longer than max_wait_ns
    TOO_LATE = 5                # its response would come later than its deadline less its reserve

cdef struct Entry:              # a request, as the queue knows it; small: a Request just fits Python's fast allocator
    Entry *next
    Entry *previous
    int64_t rows
    uint64_t shape_key          # only entries of one key share a batch
    uint32_t near_key           # requests of one shape key, level and near key run alone where NEAR_ROWS of them wait; 0: never alone
    uint32_t cost               # what it costs its connection: rows, or microseconds of work where these differ
    uint64_t start              # its virtual start time, in costs: a level is in this order
    int64_t nbytes              # input bytes held while it waits
    int64_t deadline_ns         # monotonic, when its response is of no use any longer; INT64_MAX: none
    int64_t queued_ns           # monotonic, when it was put
    int64_t timeout_ns          # how long it may wait; 0: no limit. The request's own wish until the queue policy decides
    uint16_t priority           # 1 is first; 0: the queue sets its default
    uint16_t connection_slot    # one of 1024 slots; 0: none. Two connections may share a slot
    uint8_t state               # where it is now: an EntryState
    uint8_t cancelled           # 1: the caller went away; it never runs if it still waits
    uint8_t at_once             # 1: it could begin at once when it came; estimates of run times never drop it
    uint8_t evicted             # 1: it made room for another one and is rejected
    void *owner                 # the Request; the queue or batch that holds the entry holds one reference
    void *batcher               # borrowed: the Batcher that holds it while it is WAITING, else NULL

cdef struct Level:              # one priority level: a queue in the order of virtual start times, and its queue policy
    Entry *first
    Entry *last
    Entry *placed               # the last entry that was placed between others; NULL: it has left. The next often goes behind it
    int64_t requests
    int64_t rows                # of these requests
    int64_t max_requests        # max_queue_size; 0: only the queue's own limit
    int64_t timeout_ns          # default_timeout_microseconds; 0: none
    bint timeout_override       # allow_timeout_override: a request's own shorter timeout counts

cdef class BatchQueue:          # the policy; see queue.pyx for what it promises
    cdef Level *levels          # index: priority - 1
    cdef int level_count
    cdef uint32_t default_level         # priority of a request that names none, or one that is not there
    cdef int64_t max_rows
    cdef int64_t max_delay_ns
    cdef int64_t max_requests
    cdef int64_t max_nbytes             # the most bytes of inputs that wait; 0: no limit
    cdef int64_t max_wait_ns            # the longest estimated wait of a request that is admitted; 0: no limit
    cdef int64_t takers                 # batches that can run at one time
    cdef int64_t max_preferred_rows     # largest of preferred_rows, max_rows where there are none
    cdef bint *preferred                # index: rows, 0 .. max_rows; NULL: none
    cdef readonly int64_t requests      # waiting now
    cdef int64_t rows                   # of these requests
    cdef readonly int64_t nbytes        # of their inputs
    cdef int64_t expected               # requests that are likely to come again soon: see expect
    cdef int64_t expected_until_ns      # the next batch waits for them until then
    # Lower bounds over all entries that wait. They may be too early, never too late.
    cdef int64_t next_expiry_ns         # the earliest expiry
    cdef int64_t next_deadline_ns       # the earliest deadline
    cdef int64_t next_needed_ns         # the earliest deadline less its reserve
    cdef readonly RunTimes run_times    # how long batches take, until their responses
    cdef readonly int64_t running       # batches that were taken and are not over
    cdef int64_t taken_ns               # when the last batch was taken
    cdef int64_t taken_rows             # its rows
    cdef int64_t behind_ns              # the wait and the run in the queue behind this one; 0: there is none
    cdef double behind_row_ns           # the time that a row takes there at least
    cdef uint64_t virtual_time          # start of the head that was taken last: a connection that was away begins there
    cdef uint64_t *next_starts          # index: connection_slot; the earliest start of its next request
    cdef readonly uint64_t overtaken    # requests that were placed before those of a connection with more waiting
    cdef Entry *evicted                 # entries that made room since the last drop, linked by next
    cdef readonly uint64_t evictions    # requests that made room, in all
    cdef int admit(self, Entry *entry, int64_t now_ns) noexcept nogil       # an Admission
    cdef Entry *place(self, Level *level, Entry *entry) noexcept nogil      # see queue.pyx
    cdef void remove(self, Entry *entry) noexcept nogil
    cdef Entry *first_from(self, int level) noexcept nogil
    cdef Entry *following(self, Entry *entry) noexcept nogil
    cdef int64_t decide(self, int64_t now_ns, int *count) noexcept nogil
    cdef bint runs_near(self, Entry *head) noexcept nogil
    cdef bint gathers(self, int64_t now_ns) noexcept nogil
    cdef int64_t no_begin_before(self, int64_t next_batch_ns) noexcept nogil
    cdef int full(self, const Level *level, const Entry *entry) noexcept nogil
    cdef Entry *evictable(self, const Level *level, const Entry *entry) noexcept nogil
    cdef void evict(self, Entry *entry) noexcept nogil
    cdef int late(self, Entry *entry, int64_t now_ns) noexcept nogil
    cdef void count_ahead(self, const Level *level, const Entry *entry, int64_t *requests, int64_t *rows) noexcept nogil
    cdef int64_t batch_rows(self, int64_t requests, int64_t rows) noexcept nogil
    cdef int64_t wait_ns(self, int64_t requests, int64_t rows, int64_t now_ns) noexcept nogil
    cdef int64_t retry_ns(self, int64_t now_ns) noexcept nogil
    cdef int64_t response_ns(self, int64_t rows, int64_t now_ns) noexcept nogil
    cdef void look_behind(self, BatchQueue behind, int64_t now_ns) noexcept nogil
    cdef int64_t next_batch_ns(self, int64_t now_ns) noexcept nogil
    cdef void expect(self, int64_t requests, int64_t until_ns) noexcept nogil
    cdef int64_t due(self, int64_t now_ns) noexcept nogil                   # when a batch is due; INT64_MAX: never
    cdef Entry *form(self, int64_t now_ns) noexcept nogil                   # the batch that is due now, linked by next; or NULL
    # Both remove entries that made room or expired, and return them linked by next, in no order; or NULL. The second also removes those
    # that had to begin by now, at_once excepted.
    cdef Entry *drop_expired(self, int64_t now_ns) noexcept nogil
    cdef Entry *drop_hopeless(self, int64_t now_ns) noexcept nogil
    cdef Entry *drop(self, int64_t now_ns, int64_t next_batch_ns) noexcept nogil
    cdef void over(self, int64_t rows, int64_t run_ns, int64_t now_ns) noexcept nogil


cdef inline uint16_t slot_of(uint64_t connection_id) noexcept nogil:
    """The slot of a connection; 0: the request came by none."""
    return <uint16_t>(1 + connection_id % CONNECTION_SLOTS) if connection_id else 0
