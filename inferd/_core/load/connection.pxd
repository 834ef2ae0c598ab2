# connection: one connection of the load generator, in client role. It sends inferences, reads every response whole and counts the
# outcomes, all without the GIL. It speaks http2, or http1. Never in here: when to send (generator), the making of sockets,
# percentiles, Python objects.
#
# Ownership: a Stream belongs to the list of its LoadConnection from its sending until its protocol calls `finish` or the connection is
# dropped. Then it goes to the free list. A request that the server rejected without a look at it goes to the list `rejected` and is sent
# again. A LoadConnection belongs to its Generator, and holds a reference to the Tls of its Seal. Nothing here is shared between threads.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from inferd._core.load.response cimport Expected
from inferd._core.load.tls cimport Seal

cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef enum:
    RECEIVE_NBYTES = 256 << 10  # one buffer for all connections
    SEND_NBYTES = 256 << 10     # of each connection: what the kernel has not taken yet
    PREFIX_NBYTES = 5
    TEXT_NBYTES = 256           # of an error's message
    PART_BITS = 10              # of a distribution, as in bench/measurement.py
    BUCKETS = (42 - PART_BITS + 1) << PART_BITS
    MALFORMED = 17              # behind gRPC's 17 codes: OK, but not the response it says it is
    CONNECTION = 18             # the connection went before the response came
    UNANSWERED = 19             # no response came until nobody waited any longer
    CODES = 20

cdef enum:                      # of gRPC's codes those that are not the server's own word
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16

cdef enum Closed:               # how a stream ended, in HTTP/2's words
    NO_ERROR = 0
    REFUSED_STREAM = 7
    CANCEL = 8
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12

ctypedef void (*StreamCallback)(Stream *) noexcept nogil

cdef struct ProtocolFunctions:  # of all connections of a Generator. Its functions may call `finish`, `kill` and the like
    void *own                   # its own state
    bint waits_free             # a request waits for a connection that is free, and on none that has no room
    # A new connection's `session`, and `limit` where it is known; False: there is no memory. And its end.
    bint (*begin)(LoadConnection *) noexcept
    void (*end)(LoadConnection *) noexcept
    # Gives a request to the session and sets its `id`; False: the connection takes no more requests.
    bint (*submit)(Stream *) noexcept nogil
    # Nothing that comes for a stream counts any more. `cancel` tells the server so.
    StreamCallback let_go
    StreamCallback cancel
    # Puts bytes that are to be sent into the connection's `unsent`, which is empty.
    void (*fill)(LoadConnection *) noexcept nogil
    # Takes bytes that have come; False: nothing more is to be read. And the end of the server's bytes.
    bint (*take)(LoadConnection *, const uint8_t *, Py_ssize_t) noexcept nogil
    void (*hang_up)(LoadConnection *) noexcept nogil
    # The code of a request that ended. `explain` sets its text, where it is no good response and the server has said none.
    int (*code_of)(Stream *, Closed) noexcept nogil
    void (*explain)(Stream *, Closed) noexcept nogil

cdef struct Counter:            # a distribution, as bench/measurement.py's Histogram has it
    uint64_t *counts
    int64_t sum_ns
    int64_t max_ns
    int64_t min_ns

cdef struct Sample:             # one request, for `take_samples`
    int64_t intended_ns
    int64_t sent_ns
    int64_t done_ns
    int64_t code

cdef struct Captured:           # a response that is to be checked; the bytes lie behind it
    Captured *next
    int body
    Py_ssize_t nbytes

cdef struct Stream:             # one request under way
    LoadConnection *connection
    Stream *next                # of the connection's list, in the order of sending; of the free list
    Stream *previous
    int64_t number              # since the beginning
    uint64_t tag                # the caller's name for it
    int body
    int32_t id                  # 0: the session does not have it yet
    int64_t intended_ns
    int64_t sent_ns
    int64_t opened_ns           # when the session got it
    bint hindered               # sent late for want of a connection, or of responses: not the generator's own lateness
    const char *unsent          # the rest of the body
    Py_ssize_t unsent_nbytes
    int http_status             # 0: none came
    int grpc_status             # -1: none came; by HTTP/1.1 what the status and the body of a whole response say
    bint is_grpc                # HTTP/2: a content-type of gRPC's came
    uint8_t prefix[PREFIX_NBYTES]   # HTTP/2: of a message
    int prefix_nbytes
    Py_ssize_t response_nbytes  # as announced; by HTTP/1.1 in chunks what there must be room for
    Py_ssize_t filled_nbytes
    char *response              # room for a response that comes in pieces; kept when the Stream is free
    Py_ssize_t room_nbytes
    int messages                # whole ones that came
    int rejections              # how often a server had not looked at it
    bint gave_up                # nobody waits for it any longer
    const char *fault           # static text: why the response is none
    char text[TEXT_NBYTES]      # the server's message, percent-encoded; where there is none, how it ended
    int text_nbytes

cdef struct LoadConnection:     # one connection
    LoadConnection *next        # all of a Generator's
    LoadConnection *next_unflushed  # those that have something to send
    State *owner
    void *session               # the protocol's
    int fd
    Seal *seal                  # by TLS: what makes its bytes private; NULL: they are plaintext
    int number                  # as `add` was told
    int in_flight               # requests given to this connection
    int open                    # of them those that the session has
    bint greeted                # it is known how many it may have:
    uint32_t limit              # HTTP/2's SETTINGS say it, none may come before; HTTP/1.1 has one
    Stream *waiting             # the first of the others, which wait at the list's end: more than the server's limit of streams
    Stream *first
    Stream *last
    bint unflushed
    bint leaving                # GOAWAY came: no new request is sent here
    bint dead                   # waits for Python to drop it
    bint opening                # open_waiting is at work
    char parting[TEXT_NBYTES]   # why it goes: what the server says, else what ended it; printable, without "%"
    int parting_nbytes          # 0: it does not
    bint polls_output           # the kernel takes no more for now
    uint8_t *unsent             # SEND_NBYTES
    Py_ssize_t unsent_at
    Py_ssize_t unsent_end

cdef struct State:              # what a Generator's connections share
    ProtocolFunctions *protocol
    LoadConnection *connections
    LoadConnection *unflushed
    LoadConnection *turn        # whose turn it is in an open loop
    Stream *free_streams
    Stream *rejected            # requests under way that wait for another connection, oldest first
    Stream *rejected_last
    Captured *captured          # newest first
    int captured_count
    Py_ssize_t captured_nbytes
    int64_t captured_lost
    const char **bodies         # as they are sent
    Py_ssize_t *body_nbytes
    int body_count
    Expected expected           # what every response may say
    int64_t max_response_nbytes
    int64_t deadline_ns         # after the sending; 0: none
    int64_t response_ns         # mean time of recent good responses, from when the session got the request; 0: none came, or no deadline
    int64_t verify_every        # 0: none
    int streams                 # closed loop: in flight on each connection; 0: open loop
    int64_t startable           # measured requests that may still be sent; 0: none of the warm-up either
    int64_t number              # of the next request
    int64_t held_back           # measured requests that the limit of a connection's streams kept back
    int outstanding
    bint blocked                # an arrival was due, and there was no connection, or too much under way already
    int64_t hindered_ns         # until when that was so
    int64_t measure_from_ns     # requests that were meant to be sent earlier are warm-up, and not counted (see Generator.start)
    int64_t ok_responses        # since the measuring began, those to warm-up requests included
    int64_t responses_from_ns
    int64_t now_ns              # read once a wake-up, behind the receive
    int64_t waited_ns           # in the kernel, for something to do
    int64_t codes[CODES]
    char texts[CODES][TEXT_NBYTES]  # the first message of each code
    int text_nbytes[CODES]
    Counter latency
    Counter service
    Counter lateness
    Sample *samples
    Py_ssize_t sample_count
    Py_ssize_t sample_room
    int64_t samples_lost
    int died                    # connections that died since Python looked
    uint64_t *ended             # tags of the requests that are over, for a ScheduledLoad; else NULL
    Py_ssize_t ended_count


cdef inline int bucket_of(int64_t value) noexcept nogil:
    cdef int shift
    if value < 1 << PART_BITS:
        return <int>value
    shift = 63 - __builtin_clzll(<unsigned long long>value) - PART_BITS
    return (shift << PART_BITS) + <int>(value >> shift)


cdef inline void count(Counter *counter, int64_t value) noexcept nogil:
    value = min(max(value, 0), (<int64_t>1 << 42) - 1)
    counter.counts[bucket_of(value)] += 1
    counter.sum_ns += value
    counter.max_ns = max(counter.max_ns, value)
    counter.min_ns = min(counter.min_ns, value)


cdef inline int code_for(int said, const int *pairs, int count, int other) noexcept nogil:
    """The code of a pair whose first number was said; `other` where there is none."""
    cdef int i
    for i in range(count):
        if pairs[2 * i] == said:
            return pairs[2 * i + 1]
    return other


cdef inline bint has_room(LoadConnection *connection) noexcept nogil:
    """Whether one more stream may begin now. nghttp2 would queue further ones, and search that queue for every reset. Before the server's
    SETTINGS it would send more streams than these may allow."""
    return <uint32_t>connection.open < connection.limit


cdef inline char printable(char letter) noexcept nogil:
    """The letter, or "?" where it may not stand beside percent-encoded text."""
    return letter if c' ' <= letter <= c'~' and letter != c'%' else c'?'


cdef inline void mark_unflushed(LoadConnection *connection) noexcept nogil:
    if not connection.unflushed:
        connection.unflushed = True
        connection.next_unflushed = connection.owner.unflushed
        connection.owner.unflushed = connection


# Makes a connection; NULL: there is no memory.
cdef LoadConnection *new_connection(State *state, int fd, int number, Seal *seal) noexcept
# Its requests count as lost; its socket is the caller's.
cdef void free_connection(LoadConnection *connection) noexcept
# Counts a request that was due and never sent.
cdef void give_up_arrival(State *state, int64_t intended_ns, int64_t now_ns, int code) noexcept nogil
# Counts the time so far of a list of requests, which stay under way, and of one.
cdef void count_waiting(State *state, Stream *stream, int64_t longer_than_ns) noexcept nogil
cdef void count_wait(State *state, int64_t intended_ns, int64_t sent_ns, int64_t longer_than_ns) noexcept nogil
# Sends the next request, or one with a given body; False: the connection can't.
cdef bint send_next(LoadConnection *connection, int64_t intended_ns, int64_t now_ns) noexcept nogil
cdef bint send_body(LoadConnection *connection, int body, uint64_t tag, int64_t intended_ns, int64_t now_ns) noexcept nogil
# Sends the first of the rejected requests; False: the connection can't.
cdef bint send_again(LoadConnection *connection) noexcept nogil
# Ends the rejected requests that were sent by then: they are not sent again.
cdef void end_rejected(State *state, int code, int64_t sent_before_ns) noexcept nogil
# For protocols. A request is over: counts it, and sends the next one in a closed loop. lost: its connection went.
cdef void finish(Stream *stream, Closed closed, bint lost) noexcept nogil
# The connection takes more: requests that wait on it begin.
cdef void open_waiting(LoadConnection *connection) noexcept nogil
# Makes room for response_nbytes; False: there is none, which is the stream's fault then.
cdef bint make_room(Stream *stream) noexcept nogil
# Keeps a response, in two pieces, if it is one of those that are to be checked.
cdef void keep_response(Stream *stream, const char *first, Py_ssize_t first_nbytes, const char *rest, Py_ssize_t rest_nbytes) noexcept nogil
# A small whole number; 999 for anything else.
cdef int decimal(const uint8_t *text, size_t nbytes) noexcept nogil
# Adds to a connection's parting word, as far as there is room. nbytes: -1 for text that ends with a zero.
cdef void part(LoadConnection *connection, const char *text, Py_ssize_t nbytes) noexcept nogil

# Nothing more comes from this connection; Python drops it when it looks. why: NULL where its last word was said before.
cdef void kill(LoadConnection *connection, const char *why) noexcept nogil
# Hands the kernel as many bytes as it takes.
cdef void flush(LoadConnection *connection, int epoll) noexcept nogil
# Reads the bytes that have come, RECEIVE_NBYTES at most; and by TLS those that came with the end of the handshake.
cdef void receive(LoadConnection *connection, uint8_t *buffer) noexcept nogil
cdef void receive_left(LoadConnection *connection, uint8_t *buffer) noexcept nogil
# Requests under way count as having no response.
cdef void give_up(LoadConnection *connection) noexcept nogil
# Cancels the requests whose deadline has passed.
cdef void cancel_late(LoadConnection *connection, int64_t now_ns) noexcept nogil
cdef int watch(LoadConnection *connection, int epoll, int operation, bint output) noexcept nogil
