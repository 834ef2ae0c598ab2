# cython: language_level=3
# session: the server's side of HTTP/2 for gRPC, over libnghttp2, sans-I/O: bytes come in by `buffer_updated`, calls go out to
# the service, bytes leave through a `write` callable. libnghttp2 does framing, HPACK, flow control and protocol checks. Below it:
# http2_headers, http2_call, and http2_endpoint, where bytes leave.
# Never in here: event loops, protobuf, sockets.
#
# Ownership: the stream holds one reference to its Http2Call from on_begin_headers to on_stream_close (or to close(), since
# deleting an nghttp2 session closes no stream). All callbacks run inside receive() or flush(), with the GIL held; none raises.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.http2.header_block cimport FRAME_HEADER_NBYTES, PREFACE_NBYTES, HeaderBlock, follow
from inferd._core.http2.flood_policy cimport FINE, FLOODING, PINGING, RESETTING, Verdict, judge
from inferd._core.http2.stream cimport STREAM, Http2Call
from inferd._core.http2.server_state cimport RECEIVE_NBYTES, SEND_NBYTES, Endpoint, Output
from inferd._core.http2.low_water cimport LowWater
from inferd._core.http2.headers cimport HeaderReader
from inferd._core.http2.limits cimport EXPECTED_BYTE_NS, FORGOTTEN_SHARE, HEADER_BLOCK_NS, IDLE_RECORD_FRAMES, LIGHT_CALLS, LIGHT_NBYTES
from inferd._core.http2.limits cimport MAX_ENDED, MAX_FRAME_NBYTES, MAX_UNHEARD_RECORDS, OWN_CALLS, PRESSED_NS, SELDOM_NS, STREAM_NBYTES
from inferd._core.http2.limits cimport UNASKED_NBYTES, UNHEARD_NBYTES
from inferd._core.http2.memory cimport memory
from inferd._core.http2.keepalive_policy cimport ASK, DEAD, IDLE, LEAVE, OVERDUE, RETIRE, STAY, Lifetime, Step, next_step
from inferd._core.base.object_counters cimport COUNTED
from inferd._core.grpc.message cimport SMALL_NBYTES, Share, charge_bytes, release_bytes
from inferd._core.http2.nghttp2 cimport *
from inferd._core.http2.stall_policy cimport ANSWER, ANSWERS, NOTHING, OUTPUT, REQUEST, Owed, Pace, is_stalled

from inferd.errors import DeadlineExceeded, ResourceExhausted, Unimplemented

cdef enum:
    PIECE_NBYTES = 1 << 10              # of what comes, between two looks at the clock; DATA's payload aside, which is only copied

NOT_HTTP_2 = b"This port speaks gRPC over HTTP/2 without TLS: use a gRPC client, or HTTP/2 with prior knowledge.\n"
HTTP_1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(NOT_HTTP_2), NOT_HTTP_2)
)

cdef nghttp2_extpri ALIKE           # answers of a connection share it, whatever `priority` asks for (RFC 9218): proxies have many clients
ALIKE.urgency, ALIKE.inc = NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1

cdef Py_ssize_t live_count = 0


def live():
    """Sessions that exist now; None where the build does not count them."""
    return live_count if COUNTED else None


def nghttp2_version_text():
    """The version of libnghttp2 that is loaded, such as "1.64.0"."""
    return nghttp2_version(0).version_str.decode()


cdef class Session(Output):
    """One connection's HTTP/2 session: feed it what came, and it writes what must go.

    endpoint: shared by all.
    """

    cdef public object rejection          # a RequestError that every call of this connection is answered with, or None
    cdef PyObject *head                 # the list of live calls, borrowed: the streams hold the references
    cdef HeaderReader headers           # of requests, read into the call that is opening
    cdef readonly int64_t calls
    cdef Share share                    # of its messages in the memory for all, or None: all of it
    cdef uint32_t source                # the connection's number, from 1 on; 0: its calls wait in order of arrival with all others
    cdef uint64_t received_nbytes
    cdef HeaderBlock block              # the one that is coming: nghttp2 holds what is there of a header
    cdef Py_ssize_t block_nbytes        # of it that are charged as messages are
    cdef Pace block_pace                # of blocks that were whole
    cdef Pace preface_pace              # until the client has said that it speaks HTTP/2
    cdef Pace answers_pace, output_pace # of sent_nbytes, and of what the transport got rid of
    cdef Lifetime lifetime
    cdef int64_t max_age_ns             # when it is told to leave; 0: never
    cdef int32_t aged_stream_id         # the newest stream at the last look at the lifetime
    cdef LowWater low_water             # of the socket; None: it is always read as it comes
    cdef Py_ssize_t missing_nbytes      # the least that a message lacks of those that the present read brought a piece of; 0: none
    cdef bytes rest                     # what came and waits for the connection's next turn, or None
    cdef list ready                     # unary calls that begin in the next turn: their messages came whole when this one was over; or None
    cdef int64_t turn_until_ns          # when its present turn is over
    cdef int64_t waited_ns              # how long turns took that it waited for, less what is forgotten,
    cdef public int64_t counted_ns      # by then
    cdef bint is_costly                 # the last read took longer than light ones do
    cdef uint64_t silent_nbytes         # received_nbytes at the last look whether it is silent
    cdef int64_t unheard_records        # of TLS, without content, that came while much waited for the client
    cdef Py_ssize_t payload_nbytes      # at least so many bytes that come next are DATA's payload
    cdef int64_t streams                # that the client opened, rejected ones too, but for those that came too late
    cdef int32_t newest_stream_id       # that the client named in HEADERS
    cdef int64_t ignored_nbytes         # that nghttp2 took and ignored, such as DATA of closed streams; less what is to come of a frame
    cdef bint started                   # the client's preface was right, settings included
    cdef readonly bint ends_more        # the last look ended as many calls as one does: others may be left, for one more

    def __cinit__(self, *args, **kwargs):
        global live_count
        if COUNTED:
            live_count += 1

    def __init__(self, Endpoint endpoint not None):
        self.endpoint = endpoint
        self.write_nbytes = SEND_NBYTES
        self.headers = HeaderReader(endpoint)

    def open(self, write, close_transport, int descriptor=-1, int64_t max_age_ns=0):
        """The connection is made. write(bytes) and close_transport() are the transport's, descriptor its socket's; -1: the transport
        always says at once what came. max_age_ns: when it is told to leave; 0: never. Our settings leave with the first response to what
        the client sends, never before its preface: who speaks HTTP/1.1 would take them for garbage."""
        cdef nghttp2_settings_entry settings[5]
        cdef Endpoint endpoint = self.endpoint
        self.write, self.close_transport, self.max_age_ns = write, close_transport, max_age_ns
        if descriptor >= 0:
            self.low_water = LowWater(endpoint.gathering, descriptor)
        if nghttp2_session_server_new3(&self.session, callbacks, <void *>self, endpoint.options, &memory) != 0:
            raise MemoryError()
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, endpoint.max_streams
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, endpoint.stream_window_nbytes
        settings[2].settings_id, settings[2].value = NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME_NBYTES
        settings[3].settings_id, settings[3].value = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, endpoint.max_header_nbytes
        settings[4].settings_id, settings[4].value = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1     # in a chain of them each frame is dear
        nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, settings, 5)
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, endpoint.connection_window_nbytes)
        endpoint.connections += 1
        endpoint.connections_total += 1
        self.waited_ns, self.counted_ns = SELDOM_NS, monotonic_ns()     # who is new waits with the others at first
        self.source = <uint32_t>endpoint.connections_total if endpoint.fair else 0
        if endpoint.memory_percent < 100:
            self.share = Share(endpoint.memory_percent)

    def get_buffer(self, Py_ssize_t sizehint):
        """Where the transport reads into."""
        return self.endpoint

    def buffer_updated(self, Py_ssize_t nbytes):
        """`nbytes` bytes have come into the endpoint's buffer."""
        cdef int64_t now_ns
        cdef bint light = nbytes <= LIGHT_NBYTES and self.calls <= LIGHT_CALLS and not self.is_costly
        if self.ended or self.closed:
            return
        self.endpoint.received_nbytes += nbytes
        self.received_nbytes += nbytes
        if self.rest is not None:       # the transport had read these before it was held
            self.rest += PyBytes_FromStringAndSize(<char *>self.endpoint.receive_buffer, nbytes)
            self.endpoint.held_nbytes += nbytes
            return
        if self.endpoint.reading != <PyObject *>self:
            self.turn_until_ns = 0
        self.endpoint.reading = <PyObject *>self if nbytes == RECEIVE_NBYTES else NULL      # loops read again where that is so
        now_ns = monotonic_ns()
        if self.turn_until_ns == 0 and not self.endpoint.has_time(now_ns, light):
            self.leave(self.endpoint.receive_buffer, nbytes, light)
            return
        self.take_timed(self.endpoint.receive_buffer, nbytes, now_ns)

    def take_rest(self):
        """The connection's next turn."""
        cdef bytes rest = self.take_held()
        if rest is None or self.ended or self.closed:
            return
        self.turn_until_ns = monotonic_ns() + self.endpoint.turn_ns
        self.endpoint.reading = <PyObject *>self        # what is read next is part of this turn
        if self.ready is not None and not self.begin_ready():
            self.leave(<const uint8_t *>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest), False)
            return
        if rest:
            self.take_timed(<const uint8_t *>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest), monotonic_ns())
        if self.rest is None:
            self.count_turn(monotonic_ns())
            self.hold_reading(False)

    cdef bytes take_held(self):
        rest, self.rest = self.rest, None
        if rest is not None:
            self.endpoint.held_nbytes -= PyBytes_GET_SIZE(rest)
        return rest

    def wait_for_turn(self):
        """The transport has worked for this connection as long as it may: it reads nothing until the next turn."""
        if self.rest is None and not self.ended and not self.closed:
            self.leave(<const uint8_t *>b"", 0, False)

    def count_idle(self, int64_t records, Py_ssize_t waiting_nbytes):
        """Records of TLS without content count as several control frames each. True: the connection must be cut off, for its client reads
        nothing, and TLS answers some of these. waiting_nbytes: that the transport holds."""
        if records <= 0 or self.ended or self.closed:
            return False
        self.unheard_records = self.unheard_records + records if waiting_nbytes > UNHEARD_NBYTES else 0
        if self.unheard_records > MAX_UNHEARD_RECORDS:
            self.endpoint.flooding_total += 1
            return True
        self.conduct.control_frames += records * IDLE_RECORD_FRAMES
        self.is_too_much()
        return False

    def hold_reading(self, bint held):
        """A transport reads nothing while it is held. Tests and others that feed bytes have no need of it."""

    cdef nghttp2_ssize take_turn(self, const uint8_t *source, Py_ssize_t nbytes) noexcept:
        """Hands nghttp2 what came. A byte of frames can cost a thousand times as much as one of a message: what has not been read within
        a turn waits until others had theirs."""
        cdef Py_ssize_t taken = 0, piece
        cdef nghttp2_ssize result
        cdef bint goes_on = self.endpoint.reading == <PyObject *>self
        if self.turn_until_ns == 0 and (goes_on or nbytes > PIECE_NBYTES):
            self.turn_until_ns = monotonic_ns() + self.endpoint.turn_ns
        while taken < nbytes:
            piece = min(nbytes - taken, max(<Py_ssize_t>PIECE_NBYTES, self.payload_nbytes))
            result = nghttp2_session_mem_recv2(self.session, source + taken, piece)
            if result < 0:
                return result
            taken += piece
            self.payload_nbytes -= piece    # more than what is left of the frame, if it began in this piece: the clock is looked at sooner
            if self.ready is not None or ((taken < nbytes or goes_on) and monotonic_ns() >= self.turn_until_ns):
                self.leave(source + taken, nbytes - taken, False)
                break
        self.ignored_nbytes += taken
        follow(&self.block, source, taken)
        return taken

    cdef void leave(self, const uint8_t *source, Py_ssize_t nbytes, bint light) noexcept:
        """For the next turn: before others, where that is likely to be short. light: it had none in this iteration, and needs little."""
        try:
            self.rest = PyBytes_FromStringAndSize(<const char *>source, nbytes)
            self.endpoint.held_nbytes += nbytes
            self.hold_reading(True)
            self.count_turn(monotonic_ns())
            self.endpoint.line_up(self, light or (
                self.calls <= LIGHT_CALLS and self.waited_ns + nbytes * EXPECTED_BYTE_NS < SELDOM_NS))
        except Exception as error:
            self.endpoint.log(error)
            self.end()

    cdef void count_turn(self, int64_t now_ns) noexcept:
        """Of a connection that waited for its turn, or for the next one now."""
        self.waited_ns = max(self.waited_ns - (now_ns - self.counted_ns) // FORGOTTEN_SHARE, <int64_t>0)
        self.counted_ns = now_ns
        if self.turn_until_ns > 0:      # of a turn, which may have been over for long
            self.waited_ns += min(max(now_ns - self.turn_until_ns + self.endpoint.turn_ns, <int64_t>0), self.endpoint.turn_ns)

    cdef bint is_turn_over(self) noexcept:
        cdef int64_t now_ns = monotonic_ns()
        if self.turn_until_ns == 0:
            self.turn_until_ns = now_ns + self.endpoint.turn_ns
        return now_ns >= self.turn_until_ns

    cdef bint begin_ready(self) noexcept:
        """Begins what became ready in the last turn, one call at least, as far as this one lasts. True: all of it."""
        cdef list ready = self.ready
        cdef Py_ssize_t i
        self.ready = None
        for i in range(len(ready)):
            if i > 0 and self.is_turn_over():
                self.ready = ready[i:]
                break
            self.begin(<Http2Call>ready[i])
        self.mark_dirty()
        return self.ready is None

    cdef int take_timed(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1:
        """Sees how long it took, too; what came decides, not how much of it."""
        self.take(source, nbytes)
        self.is_costly = monotonic_ns() - now_ns > self.endpoint.light_ns
        return 0

    cdef int take(self, const uint8_t *source, Py_ssize_t nbytes) except -1:
        cdef nghttp2_ssize taken
        self.receiving = True
        self.expecting = False
        self.missing_nbytes = 0
        taken = self.take_turn(source, nbytes)
        self.receiving = False
        if taken == NGHTTP2_ERR_FLOODED:        # more than max_control_frame_rate in one read, or that nobody reads
            self.end_flood()
            return 0
        if taken < 0 or (self.paused and nghttp2_session_get_outbound_queue_size(self.session) > self.endpoint.max_outbound_frames):
            if taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC and not self.started:
                self.endpoint.protocol_errors_total += 1        # and it is not judged: it may upload before it reads
                self.write(HTTP_1_ANSWER)
            else:                       # beyond max_continuations and its like nghttp2 gives up without a word
                self.count_error()
                nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                                      NGHTTP2_ENHANCE_YOUR_CALM, NULL, 0)
                self.leaving = True
                self.flush()
            self.end()
            return 0
        if self.block.nbytes != self.block_nbytes and not self.hold_block():
            return 0
        if (self.conduct.control_frames > 0 or self.conduct.resets > 0 or
                self.ignored_nbytes > self.endpoint.connection_window_nbytes) and self.is_too_much():
            return 0
        if self.low_water is not None:
            self.gather(nbytes)
        if self.received_nbytes < PREFACE_NBYTES:
            return 0                    # whoever speaks HTTP/1.1 would take our settings for garbage
        if self.expecting or nghttp2_session_want_write(self.session) or not nghttp2_session_want_read(self.session):
            self.mark_dirty()           # behind the inline run that a call scheduled: its response goes along
        return 0

    cdef bint hold_block(self) noexcept:
        """What is there of a header block that is not whole counts in the memory for messages. False: there is no room, and the connection
        ends, since blocks stand in an order that all streams share."""
        cdef Py_ssize_t more = self.block.nbytes - self.block_nbytes
        if more < 0:
            release_bytes(-more, self.share)
        else:
            try:
                charge_bytes(more, self.share, self.block_nbytes)
            except ResourceExhausted:
                self.count_error()
                self.calm_down(b"no_memory_for_headers")
                return False
        self.block_nbytes = self.block.nbytes
        return True

    cdef bint is_too_much(self) noexcept:
        """Whether the client sends more that asks for nothing, or has more streams reset, than it may; it ends then. What it cannot know
        yet that nobody wants is no more than the windows of the connection, and of each stream that has ended."""
        cdef Verdict verdict = judge(&self.conduct, &self.endpoint.rules, self.streams, self.sent_nbytes, monotonic_ns())
        if self.ignored_nbytes > self.endpoint.connection_window_nbytes + self.endpoint.stream_window_nbytes * self.streams:
            verdict = FLOODING
        if verdict == FINE:
            return False
        if verdict == PINGING:
            self.endpoint.pinging_total += 1
            self.calm_down(b"too_many_pings")           # gRPC's word: its clients ping half as often then
        elif verdict == RESETTING:
            self.endpoint.resetting_total += 1
            self.calm_down(b"too_many_resets")
        else:
            self.end_flood()
        return True

    cdef void end_flood(self) noexcept:
        self.endpoint.flooding_total += 1
        self.calm_down(b"too_many_control_frames")

    cdef void calm_down(self, bytes why) noexcept:
        """GOAWAY, and the end: calls under way are lost, as at any server of gRPC. Who asks for it has counted it."""
        self.judged = self.leaving = True
        nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                              NGHTTP2_ENHANCE_YOUR_CALM, <const uint8_t *>PyBytes_AS_STRING(why), PyBytes_GET_SIZE(why))
        try:
            self.flush()
        except Exception:               # its transport is gone and has not said so yet
            pass
        self.end()

    cdef void gather(self, Py_ssize_t read_nbytes) noexcept:
        """Decides for how many bytes the loop is woken next."""
        try:
            self.low_water.look(read_nbytes >= RECEIVE_NBYTES // 2, self.missing_nbytes, self.received_nbytes)
        except Exception as error:
            self.endpoint.log(error)

    def gather_no_more(self):
        """The socket is read as it comes from now on, by whoever reads it."""
        if self.low_water is not None:
            self.low_water.set(1)

    def receive(self, const uint8_t[::1] source not None):
        """Feeds bytes from anywhere, in pieces of the receive buffer's size, all in one turn. For tests and other transports."""
        cdef Py_ssize_t offset = 0, nbytes
        while offset < source.shape[0]:
            nbytes = min(source.shape[0] - offset, <Py_ssize_t>RECEIVE_NBYTES)
            memcpy(self.endpoint.receive_buffer, &source[offset], nbytes)
            self.buffer_updated(nbytes)
            while self.rest is not None:
                self.take_rest()
            offset += nbytes

    cdef void headers_complete(self, Http2Call call) noexcept:
        """All request headers are there: rejects what is not a call that this server knows."""
        try:
            if not self.headers.speaks_grpc(call):
                return
            if self.rejection is not None:
                self.reject(call, call.stream_id, self.rejection)     # not raised: it would gather a traceback of each call
                return
            self.headers.check(call)
            if not self.has_room(0):
                raise self.unread_error(0)
            if call.kind == STREAM:
                call.hold(STREAM_NBYTES)
                self.endpoint.start(call, call.method_row)
        except Exception as error:
            self.reject(call, call.stream_id, error)
        finally:
            call.authorization = None   # of a call that was rejected before the guard saw it

    cdef void message_chunk(self, Http2Call call, const uint8_t *chunk, Py_ssize_t nbytes) noexcept:
        """Bytes of a call's messages. What comes after a response, or a rejection, is thrown away."""
        cdef Py_ssize_t taken = nbytes
        call.received_nbytes += nbytes
        try:
            if call.kind != STREAM or call.single:
                while nbytes > 0 and not call.closed:
                    if call.asked:
                        raise Unimplemented(f"{call.method}: expected one request message, got more; the method takes one",
                                            reason="cardinality")
                    if call.feed(&chunk, &nbytes, call.max_message_nbytes):
                        call.asked = True
                        call.notify()
            elif call.message is None and not call.closed:
                if call.feed(&chunk, &nbytes, call.max_message_nbytes):
                    call.notify()
            if call.kind == STREAM and nbytes > 0 and not call.closed:
                call.hold(nbytes)
                if call.backlog is None:        # back-pressure: these bytes stay unconsumed until the reader takes them
                    call.backlog = bytearray()
                call.backlog.extend(<bytes>chunk[:nbytes])
                taken -= nbytes
        except Exception as error:
            self.reject(call, call.stream_id, error)
        if call.partial is not None and (self.missing_nbytes == 0 or call.missing_nbytes < self.missing_nbytes):
            self.missing_nbytes = call.missing_nbytes
        nghttp2_session_consume(self.session, call.stream_id, taken)

    cdef void request_complete(self, Http2Call call) noexcept:
        """The client sends no more: a unary call begins here, or in the next turn, since a message may take long to read."""
        call.half_closed = True
        if call.kind != STREAM and call.message is not None and (
                call.message.nbytes > LIGHT_NBYTES or call.message.compressed) and self.is_turn_over():
            if self.ready is None:
                self.ready = []
            self.ready.append(call)
        else:
            self.begin(call)

    cdef void begin(self, Http2Call call) noexcept:
        """The request is whole."""
        if call.closed or call.output is None:
            return
        try:
            call.check_ended()
            if call.kind == STREAM:
                call.notify()
            elif call.message is None:
                raise Unimplemented(f"{call.method}: expected one request message, got none", reason="cardinality")
            elif call.message.compressed:
                message, call.message = call.message, None
                if call.decompress(message):
                    call.message = call.decompressed()
                    call.begin()
            else:
                call.begin()
        except Exception as error:
            self.reject(call, call.stream_id, error)

    def end_stalled(self, int64_t now_ns, int64_t taken_nbytes, int64_t request_limit_ns, int64_t answer_limit_ns, bint pressed=False):
        """Ends each call that has waited too long for its client, memory being held: for request_limit_ns for the rest of the
        request, for answer_limit_ns that the response is read, while less than min_rate moved, or min_message_rate of a large message.
        pressed: messages found no room since the last look, and what is slow ends after PRESSED_NS, if it is large, or one of many small
        ones that hold as much as a large one. True: the connection must be cut off, since its client reads nothing of it, or has sent no
        header block whole for HEADER_BLOCK_NS. Asked now and then with the monotonic time and a count of the bytes that the client has
        taken so far, -1 where the transport holds none for it; again, with the same time and behind others, where `ends_more`."""
        cdef Endpoint endpoint = self.endpoint
        cdef bint large, many, is_slow
        cdef bint many_requests = self.share is not None and self.share.nbytes > SMALL_NBYTES
        cdef bint many_answers = self.unread_nbytes > SMALL_NBYTES
        cdef uint64_t moved_nbytes
        cdef Http2Call call
        cdef Owed owed
        cdef bint blocked = False
        cdef list stalled = []
        cdef list slow = []             # that hold much, while others find no room
        cdef list late = []             # whose deadline has passed before the request was whole
        self.ends_more = False
        if self.ended or self.closed:
            return False                # the transport was asked to close, and has a limit of its own
        if is_stalled(&self.preface_pace, NOTHING if self.started else REQUEST, 0, now_ns, request_limit_ns, endpoint.min_rate):
            return True
        if is_stalled(&self.block_pace, REQUEST if self.block.is_open else NOTHING, self.block.whole, now_ns,
                      min(request_limit_ns, <int64_t>HEADER_BLOCK_NS), 0):
            return True
        call = <Http2Call>self.head if self.head != NULL else None
        while call is not None and len(stalled) + len(slow) + len(late) < MAX_ENDED:
            owed = call.owed()
            large = call.owed_nbytes() > SMALL_NBYTES
            call.count_read(owed)
            moved_nbytes = call.read_nbytes if owed == ANSWERS or owed == ANSWER else call.taken_nbytes()
            many = many_requests if owed == REQUEST else many_answers
            # Which window is shut is the client's to choose, and to change between two looks: either way it reads, or does not.
            is_slow = is_stalled(&call.pressed_pace, NOTHING if not (large or many) else ANSWER if owed == ANSWERS else owed,
                                 moved_nbytes, now_ns, PRESSED_NS,
                                 endpoint.min_message_rate if large or owed == ANSWERS else endpoint.min_rate)
            if owed == ANSWERS:         # not this call's own doing: the connection is judged
                blocked = True
                owed = NOTHING
            if is_stalled(&call.pace, owed, moved_nbytes, now_ns, answer_limit_ns if owed == ANSWER else request_limit_ns,
                          endpoint.min_message_rate if large and owed == REQUEST else endpoint.min_rate):
                stalled.append(call)
            elif is_slow and pressed:
                slow.append(call)
            elif (owed == REQUEST or call.incoming is not None) and call.kind != STREAM and now_ns >= call.deadline_ns and (
                    call is not self.headers.opening):
                late.append(call)
            call = call.next
        # Both are asked at every look, whatever the other says. While the transport takes nothing, nghttp2 is asked for nothing.
        blocked &= is_stalled(&self.answers_pace, ANSWERS if self.unread_nbytes > 0 and not self.paused else NOTHING, self.sent_nbytes,
                              now_ns, answer_limit_ns, endpoint.min_rate)
        if is_stalled(&self.output_pace, NOTHING if taken_nbytes < 0 else OUTPUT, <uint64_t>taken_nbytes, now_ns,
                      answer_limit_ns, endpoint.min_rate) or blocked:
            return True
        self.ends_more = len(stalled) + len(slow) + len(late) == MAX_ENDED
        for call in late:
            self.reject(call, call.stream_id, DeadlineExceeded(f"{call.method}: the deadline passed before the request was whole",
                                                               reason="deadline"))
            call.message = None
        for call in stalled:
            if call.output is not None:
                endpoint.stalled_total += 1
                call.end_stalled(call.pace.owed, request_limit_ns, False)
        for call in slow:
            if call.output is not None:
                endpoint.stalled_total += 1
                call.end_stalled(call.pressed_pace.owed, request_limit_ns, True)
        return False

    def is_silent(self):
        """Whether nothing has come since the last call, and nothing waits for the next turn."""
        cdef uint64_t before_nbytes = self.silent_nbytes
        self.silent_nbytes = self.received_nbytes
        return before_nbytes == self.received_nbytes and self.rest is None and not self.ended and not self.closed

    def age(self, int64_t now_ns, Py_ssize_t waiting_nbytes):
        """What its lifetime asks for by now: PING to a silent client, GOAWAY in two steps, a look apart, to one that has been here long
        enough. True: the connection must be cut off. Asked now and then with the monotonic time and how many bytes the transport holds."""
        cdef int32_t newest
        cdef bint busy
        cdef Step step
        if self.ended or self.closed or not self.started:
            return False
        newest = nghttp2_session_get_last_proc_stream_id(self.session)
        busy = self.calls > 0 or newest != self.aged_stream_id
        self.aged_stream_id = newest
        step = next_step(&self.lifetime, &self.endpoint.terms, self.max_age_ns, self.received_nbytes, busy,
                         waiting_nbytes == 0 and not self.paused, now_ns)
        if step == STAY:
            return False
        if step == ASK:
            nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL)
        elif step == RETIRE or step == IDLE:
            self.endpoint.retired_total += step == RETIRE
            self.endpoint.idle_total += step == IDLE
            nghttp2_submit_shutdown_notice(self.session)
        elif step == LEAVE:
            self.say_goodbye()
        else:
            self.endpoint.dead_total += step == DEAD
            self.endpoint.overdue_total += step == OVERDUE
            return True
        self.mark_dirty()
        return False

    cdef void say_goodbye(self) noexcept:
        nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                              NGHTTP2_NO_ERROR, NULL, 0)

    def announce_drain(self):
        """First phase of leaving: GOAWAY with the highest stream id, so that no request under way is lost."""
        if not self.closed:
            nghttp2_submit_shutdown_notice(self.session)
            self.mark_dirty()

    def drain(self):
        """Second phase: GOAWAY with the last stream that will be answered; the connection ends after its calls."""
        if not self.closed:
            self.draining = True
            self.say_goodbye()
            self.mark_dirty()

    def lose(self):
        """The transport is gone: nothing is read or written from now on. close() follows soon."""
        self.ended = True
        if self.low_water is not None:
            self.low_water.close()

    def close(self):
        """The connection is gone: its calls are abandoned and all memory is given back. Idempotent."""
        cdef Http2Call call
        if self.closed:
            return
        self.closed = True
        if self.session == NULL:
            return
        self.endpoint.connections -= 1
        if self.endpoint.reading == <PyObject *>self:
            self.endpoint.reading = NULL
        self.endpoint.forget(self)
        self.take_held()
        self.headers.opening = self.uploads = self.ready = None
        if self.low_water is not None:
            self.low_water.close()
        while self.head != NULL:
            call = <Http2Call>self.head
            self.unlink(call)
        nghttp2_session_del(self.session)
        self.session = NULL
        release_bytes(self.block_nbytes, self.share)
        self.block_nbytes = 0
        self.write = self.close_transport = None

    def __dealloc__(self):
        global live_count
        if COUNTED:
            live_count -= 1
        if self.session != NULL:
            nghttp2_session_del(self.session)

    cdef void link(self, Http2Call call) noexcept:
        """The stream is open and holds its call."""
        Py_INCREF(call)
        call.output = self
        if self.head != NULL:
            call.next = <Http2Call>self.head
            call.next.previous = call
        self.head = <PyObject *>call
        self.calls += 1
        self.endpoint.calls += 1
        self.endpoint.calls_total += 1

    cdef void unlink(self, Http2Call call) noexcept:
        """The stream is closed: whoever still works for the call learns it, and the stream's reference goes."""
        if not call.closed:
            self.endpoint.abandoned_total += 1
        call.abandon()
        if call.previous is not None:
            call.previous.next = call.next
        else:
            self.head = <PyObject *>call.next if call.next is not None else NULL
        if call.next is not None:
            call.next.previous = call.previous
        call.next = call.previous = None
        if call.unsent_nbytes > 0 or call.outgoing is not None:
            call.drop_answer()
        if call.partial is not None or call.backlog is not None or call.incoming is not None:
            call.drop_request()
        if call.held_nbytes > 0:
            call.give_back(call.held_nbytes)
            call.metadata_items = None
        if call.words_nbytes > 0:
            release_bytes(call.words_nbytes, None)
            call.words_nbytes = 0
        if call.listener is not None:
            call.notify()
            call.listener = None
        call.error = None               # it may hold frames that hold the call
        call.output = None
        self.calls -= 1
        self.endpoint.calls -= 1
        Py_DECREF(call)


cdef int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *frame, void *user_data) noexcept:
    """Counts frames that ask for nothing and bring nothing: those of types that nobody knows, too, and headers of closed streams, which
    nghttp2 reads and forgets, wherever they might have been sent before a reset of ours came. Of DATA that nghttp2 ignores, since its
    stream is closed, it says nothing: those bytes are in ignored_nbytes."""
    (<Session>user_data).payload_nbytes = frame.length if frame.type == NGHTTP2_DATA else 0
    (<Session>user_data).ignored_nbytes -= FRAME_HEADER_NBYTES + frame.length
    if frame.type == NGHTTP2_HEADERS and frame.stream_id > (<Session>user_data).newest_stream_id:
        (<Session>user_data).newest_stream_id = frame.stream_id
        return 0                            # these have limits of their own, and so have
    if frame.type == NGHTTP2_CONTINUATION or (
            frame.type == NGHTTP2_HEADERS and nghttp2_session_get_stream_user_data(session, frame.stream_id) != NULL):
        return 0
    if frame.type == NGHTTP2_RST_STREAM:
        (<Session>user_data).conduct.resets += 1
        return 0
    if frame.type == NGHTTP2_DATA and not frame.flags & NGHTTP2_FLAG_PADDED and (
            frame.length > 0 or frame.flags & NGHTTP2_FLAG_END_STREAM):
        return 0
    (<Session>user_data).conduct.control_frames += 1 if frame.type == NGHTTP2_DATA else 1 + frame.length // UNASKED_NBYTES
    if frame.type == NGHTTP2_PING and not frame.flags & NGHTTP2_FLAG_ACK:
        (<Session>user_data).conduct.pings += 1
    elif frame.type == NGHTTP2_PRIORITY and frame.stream_id == 0:       # nghttp2 skips what has no meaning any more, errors included
        nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR)
    return 0


cdef int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *frame, void *user_data) noexcept:
    """A frame of a type that nobody knows. nghttp2 is told of all such types, or it would skip them without a word, and uncounted."""
    return NGHTTP2_ERR_CANCEL


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef Http2Call call
    if frame.hd.type != NGHTTP2_HEADERS or frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        self.headers.begin(None)
        return 0
    self.streams += 1
    if self.calls >= OWN_CALLS and self.endpoint.calls + self.calls >= self.endpoint.max_calls:     # no more than are left to others
        self.endpoint.refused_total += 1
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_REFUSED_STREAM)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    call = Http2Call.__new__(Http2Call)
    call.stream_id = frame.hd.stream_id
    call.connection_id, call.share = self.source, self.share
    self.link(call)
    self.headers.begin(call)
    nghttp2_session_set_stream_user_data(session, frame.hd.stream_id, <void *>call)
    nghttp2_session_change_extpri_stream_priority(session, frame.hd.stream_id, &ALIKE, 1)
    return 0


cdef int give_up_headers(nghttp2_session *session, int32_t stream_id) noexcept:
    """A byte of HPACK can stand for kilobytes, each of which costs time: the stream is reset, and the rest of the block not looked at.
    gRPC's clients take ENHANCE_YOUR_CALM for RESOURCE_EXHAUSTED; nghttp2 by itself would say INTERNAL_ERROR."""
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_ENHANCE_YOUR_CALM)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_nbytes,
                   const uint8_t *value, size_t value_nbytes, uint8_t flags, void *user_data) noexcept:
    if (<Session>user_data).headers.read(name, name_nbytes, value, value_nbytes):
        return 0
    return give_up_headers(session, frame.hd.stream_id)


cdef int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *chunk, size_t nbytes,
                       void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef void *call = nghttp2_session_get_stream_user_data(session, stream_id)
    if call != NULL:
        self.message_chunk(<Http2Call>call, chunk, nbytes)
    return 0


cdef int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef void *stream
    cdef Http2Call call
    if frame.hd.type == NGHTTP2_HEADERS:
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST and self.headers.opening is not None:
            call, self.headers.opening = self.headers.opening, None
            self.headers_complete(call)
    elif frame.hd.type == NGHTTP2_SETTINGS:
        self.started = True             # nghttp2 takes no other frame first
        return 0
    elif frame.hd.type != NGHTTP2_DATA:
        return 0
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
        if stream != NULL:
            self.request_complete(<Http2Call>stream)
    return 0


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef void *stream = nghttp2_session_get_stream_user_data(session, stream_id)
    if error_code != NGHTTP2_NO_ERROR and error_code != NGHTTP2_REFUSED_STREAM and not self.receiving:
        self.conduct.resets += 1            # by us, for what the client sent: those that it sent itself were counted as they came
    if stream != NULL:
        nghttp2_session_set_stream_user_data(session, stream_id, NULL)
        self.unlink(<Http2Call>stream)
    return 0


cdef nghttp2_session_callbacks *callbacks = NULL

cdef int set_up() except -1:
    """Callbacks are the same for every session; they live as long as the process."""
    global callbacks
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        raise MemoryError()
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_extension)
    return 0

set_up()
