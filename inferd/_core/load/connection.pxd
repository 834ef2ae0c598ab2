# connection: one HTTP/2 connection of the load generator, in client role over libnghttp2. It sends ModelInfer, reads every response
# whole and counts the outcomes, all without the GIL. Never in here: when to send (generator), the making of sockets, percentiles,
# Python objects.
#
# Ownership: a Stream belongs to its Link's list from its sending to on_stream_close, to the end of an answer that does not wait for all of
# the request, or until the Link is dropped; each gives it back to the free list, or to the list of the refused, which are asked again.
# A Link belongs to its Generator, and holds a reference to the Tls of its Seal. Nothing here is shared between threads.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from inferd._core.load.response cimport Expected
from inferd._core.http2.nghttp2 cimport nghttp2_nv, nghttp2_session
from inferd._core.load.tls cimport Seal

cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef enum:
    RECEIVE_NBYTES = 256 << 10  # one buffer for all connections
    PREFIX_NBYTES = 5
    TEXT_NBYTES = 256           # of an error's message
    PART_BITS = 10              # of a distribution, as in bench/measurement.py
    BUCKETS = (42 - PART_BITS + 1) << PART_BITS
    MALFORMED = 17              # behind gRPC's 17 codes: OK, but not the answer it says it is
    CONNECTION = 18             # the connection went before the answer came
    UNANSWERED = 19             # nothing came until nobody waited any longer
    CODES = 20

cdef struct Counter:            # a distribution, as bench/measurement.py's Histogram has it
    uint64_t *counts
    int64_t sum_ns
    int64_t max_ns
    int64_t min_ns

cdef struct Sample:             # one request, for whoever wants them all
    int64_t intended_ns
    int64_t sent_ns
    int64_t done_ns
    int64_t code

cdef struct Captured:           # an answer that is to be checked; the bytes lie behind it
    Captured *next
    int body
    Py_ssize_t nbytes

cdef struct Stream:             # one request under way
    Link *link
    Stream *next                # of the link's list, in the order of sending; of the free list
    Stream *previous
    int64_t number              # since the beginning
    uint64_t tag                # what whoever asked for it calls it
    int body
    int32_t id                  # 0: nghttp2 does not have it yet
    int64_t intended_ns
    int64_t sent_ns
    int64_t opened_ns           # when nghttp2 got it
    bint hindered               # sent late for want of a connection, or of answers: not the generator's own lateness
    const char *unsent          # the rest of the framed body
    Py_ssize_t unsent_nbytes
    int http_status             # 0: none came
    int grpc_status             # -1: none came
    bint is_grpc                # a content-type of gRPC's came
    uint8_t prefix[PREFIX_NBYTES]
    int prefix_nbytes
    Py_ssize_t answer_nbytes    # as announced
    Py_ssize_t filled_nbytes
    char *answer                # room for an answer that comes in pieces; kept when the Stream is free
    Py_ssize_t room_nbytes
    int messages                # whole ones that came
    int refusals                # how often a server had not looked at it
    bint gave_up                # nobody waits for it any longer
    const char *fault           # static text: why the answer is none
    char text[TEXT_NBYTES]      # grpc-message, percent-encoded; where there is none, how it ended
    int text_nbytes

cdef struct Link:               # one connection
    Link *next                  # all of a Generator's
    Link *next_dirty            # those that have something to send
    State *owner
    nghttp2_session *session
    int fd
    Seal *seal                  # by TLS: what makes its bytes private; NULL: they are plaintext
    int number                  # as `add` was told
    int in_flight               # requests given to this link
    int open                    # of them those that nghttp2 has
    bint greeted                # the server's SETTINGS came
    uint32_t limit              # streams that it allows; none before that
    Stream *waiting             # the first of the others, which wait at the list's end: more than the server's limit of streams
    Stream *first
    Stream *last
    bint dirty
    bint leaving                # GOAWAY came: nothing new is asked here
    bint dead                   # waits for Python to drop it
    bint opening                # open_waiting is at work
    char parting[TEXT_NBYTES]   # why it goes: what its GOAWAY says, else what ended it; printable, without "%"
    int parting_nbytes          # 0: it does not
    bint polls_output           # the kernel takes no more for now
    uint8_t *unsent             # SEND_NBYTES
    Py_ssize_t unsent_at
    Py_ssize_t unsent_end

cdef struct State:              # what a Generator's links share
    Link *links
    Link *dirty
    Link *turn                  # whose turn it is in an open loop
    Stream *free_streams
    Stream *refused             # requests under way that wait for another connection, oldest first
    Stream *refused_last
    Captured *captured          # newest first
    int captured_count
    Py_ssize_t captured_nbytes
    int64_t captured_lost
    const char **bodies         # framed
    Py_ssize_t *body_nbytes
    int body_count
    nghttp2_nv *headers
    size_t header_count
    nghttp2_nv *timeout         # of the headers, grpc-timeout; NULL: there is none
    Expected expected           # what every answer may say
    int64_t max_answer_nbytes
    int64_t deadline_ns         # after the sending; 0: none
    int64_t answered_in_ns      # what a good answer took of late, from when nghttp2 had the request; 0: none came, or there is no deadline
    int64_t verify_every        # 0: none
    int streams                 # closed loop: in flight on each link; 0: open loop
    int64_t startable           # measured requests that may still be sent; 0: none of the warm-up either
    int64_t number              # of the next request
    int64_t measured            # those sent that are counted,
    int64_t held_back           # and of them those that the server's limit of streams kept back
    int outstanding
    bint blocked                # an arrival was due, and there was no connection, or too much under way already
    int64_t hindered_ns         # until when that was so
    int64_t measure_from_ns     # what was meant to be sent earlier is warm-up, and not counted (see Generator.start),
    int64_t answered            # but for this: answers with OK since the measuring began, whenever they were asked for
    int64_t answers_from_ns
    int64_t now_ns              # read once a wake-up, behind the receive
    int64_t waited_ns           # in the kernel, for something to do
    int64_t codes[CODES]
    char texts[CODES][TEXT_NBYTES]      # the first message of each code
    int text_nbytes[CODES]
    Counter latency
    Counter service
    Counter lateness
    Sample *samples
    Py_ssize_t sample_count
    Py_ssize_t sample_room
    int64_t samples_lost
    int died                    # links that died since Python looked
    uint64_t *ended             # tags of the requests that are over, for an Asker; NULL: nobody wants them
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


cdef inline void mark_dirty(Link *link) noexcept nogil:
    if not link.dirty:
        link.dirty = True
        link.next_dirty = link.owner.dirty
        link.owner.dirty = link


cdef Link *new_link(State *state, int fd, int number, Seal *seal) noexcept # NULL: there is no memory
cdef void free_link(Link *link) noexcept                                   # its streams count as lost; its socket is the caller's
cdef void give_up_arrival(State *state, int64_t intended_ns, int64_t now_ns, int code) noexcept nogil   # counts one that was never sent
cdef void count_waiting(State *state, Stream *stream, int64_t longer_than_ns) noexcept nogil       # a list of those under way
cdef void count_wait(State *state, int64_t intended_ns, int64_t sent_ns, int64_t longer_than_ns) noexcept nogil     # one request
cdef bint ask(Link *link, int64_t intended_ns, int64_t now_ns) noexcept nogil       # sends the next request; False: it can't
cdef bint ask_for(Link *link, int body, uint64_t tag, int64_t intended_ns, int64_t now_ns) noexcept nogil      # the same, of a given body
cdef bint ask_again(Link *link) noexcept nogil                             # sends the first of the refused; False: the link can't
cdef void end_refused(State *state, int code, int64_t sent_before_ns) noexcept nogil        # nobody asks again what was sent before
cdef void kill(Link *link, const char *why) noexcept nogil                 # nothing more comes from it
cdef void flush(Link *link, int epoll) noexcept nogil                      # hands the kernel what it takes
cdef void receive(Link *link, uint8_t *buffer) noexcept nogil              # reads what has come, RECEIVE_NBYTES at most
cdef void receive_left(Link *link, uint8_t *buffer) noexcept nogil         # by TLS: what came with the end of the handshake
cdef void give_up(Link *link) noexcept nogil                               # what is under way counts as unanswered
cdef void cancel_late(Link *link, int64_t now_ns) noexcept nogil           # requests whose time is over
cdef int watch(Link *link, int epoll, int operation, bint output) noexcept nogil
