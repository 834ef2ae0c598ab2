# cython: language_level=3
# http2: the server's side of HTTP/2 for gRPC, over libnghttp2, sans-I/O: bytes come in by `buffer_updated`, calls go out to
# the service, bytes leave through a `write` callable. libnghttp2 does framing, HPACK, flow control and protocol checks.
# Never in here: event loops, protobuf, and of sockets all but one thing: how many bytes must be there before the loop is woken.
#
# Ownership: the stream holds one reference to its Http2Call from on_begin_headers to on_stream_close (or to close(), since
# deleting an nghttp2 session closes no stream). nghttp2 copies what it sends before the callbacks return, so an answer's
# memory is free as soon as its last byte was read. All callbacks run inside receive() or flush(), with the GIL held; none raises.

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from inferd._core.clock cimport monotonic_ns
from inferd._core.compression cimport Compression, Conversion, Decompression
from inferd._core.conduct cimport CONTROL_BURST_S, FINE, PINGING, Conduct, Rules, Verdict, judge
from inferd._core.grpc cimport Call, percent_encode, status_details, timeout_ns
from inferd._core.lifetime cimport ASK, DEAD, IDLE, LEAVE, OVERDUE, RETIRE, STAY, Lifetime, Step, Terms, next_step
from inferd._core.live cimport COUNTED
from inferd._core.message cimport PREFIX_NBYTES, Message, Share, charge_bytes, framed, release_bytes
from inferd._core.nghttp2 cimport *
from inferd._core.pace cimport ANSWER, ANSWERS, NOTHING, OUTPUT, REQUEST, Owed, Pace, is_stalled

from inferd.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable, Unimplemented

cdef extern from "<sys/socket.h>" nogil:
    const int SOL_SOCKET, SO_RCVLOWAT
    int setsockopt(int descriptor, int level, int name, const void *value, unsigned int nbytes)

cdef enum:
    RECEIVE_NBYTES = 64 << 10           # the receive buffer that all connections share
    FRAME_NBYTES = 16 << 10             # what clients send at once: HTTP/2's default frame
    GATHER_NBYTES = 256 << 10           # of a message that comes fast, the loop is woken for so many at once (GATHER_S)
    PAUSE_NS = 1_000_000                # who has sent nothing for so long while the loop slept for them
    PAUSED_NBYTES = 16 << 20            # is read as it comes for so many bytes: small calls beside its uploads would be late each time
    TURN_NS = 200_000                   # what a connection sends is worked on for so long, then it is the others' turn
    PIECE_NBYTES = 1 << 10              # of what comes, between two looks at the clock; DATA's payload aside, which is only copied
    SEND_NBYTES = 256 << 10             # bytes gathered for one write
    MAX_FRAME_NBYTES = 1 << 20          # largest frame that a client may send
    PREFACE_NBYTES = 24                 # "PRI * HTTP/2.0" and so on, with which a client begins
    MAX_OUTBOUND_ACKS = 1000            # answers to PING and SETTINGS that may wait for a client that does not read,
    MAX_STREAM_FRAMES = 4               # and other frames for each stream that it may have open: refusals beyond it count, too
    MAX_SETTINGS = 32                   # entries of one SETTINGS frame
    MAX_CONTINUATIONS = 8               # CONTINUATION frames of one header block
    RESET_BURST = 100_000               # streams that a client may reset at once: a second's worth of 1024 whose deadline is 10 ms,
    RESET_RATE = 20_000                 # and how many more a second: 4 % of a core, for one costs some 2 us, half an answered call
    ANSWERED_HEADERS = 4                # so many times max_header_nbytes, and LEAST_ANSWERED_NBYTES in any case, are read to refuse
    LEAST_ANSWERED_NBYTES = 64 << 10    # them with a word; more are not read
    MAX_PATH_NBYTES = 256               # kept of an unknown method's path, for the words of its refusal
    MAX_METADATA = 128                  # metadata entries of one call
    ENTRY_NBYTES = 160                  # what an entry takes beside its name and value: two bytes objects, their pair, its place
    LEAST_RATE = 1024                   # bytes a second that must move, on average over stall_timeout_s, where memory is held
    MAX_ENDED = 64                      # stalled calls that one look at a connection ends; the others' turn comes with the next
    LEAST_COMPRESSED_NBYTES = 1024      # smaller answers are not worth compressing
    INLINE_NBYTES = 64 << 10            # decompressed on the loop between two reads, some 150 us; what comes then is for threads

GATHER_S = 0.005                        # the longest that the loop sleeps for GATHER_NBYTES

cdef enum Kind:                         # Method.kind
    UNKNOWN = 0
    INFER = 1
    UNARY = 2
    STREAM = 3

KINDS = {"infer": INFER, "unary": UNARY, "stream": STREAM}

NOT_HTTP_2 = b"This port speaks gRPC over HTTP/2 without TLS: use a gRPC client, or HTTP/2 with prior knowledge.\n"
HTTP_1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(NOT_HTTP_2), NOT_HTTP_2)
)

cdef inline nghttp2_nv constant_header(bytes name, bytes value):
    """A header over bytes objects that live as long as the module: nghttp2 need not copy them."""
    cdef nghttp2_nv header
    header.name = <uint8_t *>PyBytes_AS_STRING(name)
    header.namelen = PyBytes_GET_SIZE(name)
    header.value = <uint8_t *>PyBytes_AS_STRING(value)
    header.valuelen = PyBytes_GET_SIZE(value)
    header.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return header

cdef inline nghttp2_nv header(bytes name, bytes value):
    cdef nghttp2_nv result = constant_header(name, value)
    result.flags = NGHTTP2_NV_FLAG_NONE
    return result

# Names and values that every answer uses; kept alive here, since nghttp2 holds only their addresses.
STATUS, OK_200, CONTENT_TYPE, GRPC, GRPC_STATUS, GRPC_OK = b":status", b"200", b"content-type", b"application/grpc", b"grpc-status", b"0"
GRPC_MESSAGE, GRPC_DETAILS, TEXT, ACCEPT_ENCODING, ENCODINGS, ENCODING, GZIP, DEFLATE = (
    b"grpc-message", b"grpc-status-details-bin", b"text/plain; charset=utf-8", b"grpc-accept-encoding", b"identity, deflate, gzip",
    b"grpc-encoding", b"gzip", b"deflate")

cdef nghttp2_nv ANSWER_HEADERS[2]
ANSWER_HEADERS[0] = constant_header(STATUS, OK_200)
ANSWER_HEADERS[1] = constant_header(CONTENT_TYPE, GRPC)
cdef nghttp2_nv OK_TRAILERS[1]
OK_TRAILERS[0] = constant_header(GRPC_STATUS, GRPC_OK)


cdef Py_ssize_t live_count = 0


def live():
    """Sessions that exist now; None where the build does not count them."""
    return live_count if COUNTED else None


def nghttp2_version_text():
    """The version of libnghttp2 that is loaded, such as "1.64.0"."""
    return nghttp2_version(0).version_str.decode()


cdef inline Message pooled(message):
    """An answer in a block of its own: a frame needs room in front of the message."""
    if type(message) is Message and (<Message>message).wrapped is None:
        return <Message>message
    return Message(message)


@cython.final
@cython.no_gc                           # its cycles (request, listener) are broken by hand when the stream closes
cdef class Http2Call(Call):
    """One RPC on one HTTP/2 stream."""

    cdef Session session                # None once the stream is closed
    cdef int32_t stream_id
    cdef Kind kind
    cdef readonly object method_row     # the service table's Method, None for an unknown path
    cdef Http2Call next, previous       # the session's list of live calls; cut in Session.unlink
    # What the request's headers said.
    cdef Py_ssize_t header_nbytes
    cdef bint is_post, is_grpc, bad_encoding, bad_timeout, too_many_headers
    cdef bint compresses                # the client takes the encoding of the endpoint's answers
    cdef int metadata_count             # entries that came
    cdef list metadata_items            # (name, value) as bytes, or None; none are kept of the hot method, where nobody reads them
    cdef readonly bint half_closed      # the client sends no more
    cdef bytearray backlog              # bytes of a streaming request that wait until `message` was taken, or None
    cdef Py_ssize_t held_nbytes         # charged to the budget of messages: metadata, backlog
    cdef uint64_t received_nbytes       # of messages
    cdef Conversion incoming            # decompresses a message of the request, the only one that is begun, or None
    # The answer.
    cdef Conversion outgoing            # compresses a message of it on a thread, or None
    cdef Py_ssize_t outgoing_nbytes     # of that message, in the session's compressing_nbytes
    cdef Message answer                 # whose frame is being sent, or None
    cdef char *unsent                   # next byte of it
    cdef Py_ssize_t unsent_nbytes
    cdef uint64_t sent_nbytes           # of messages, taken by nghttp2
    cdef bint headers_sent, deferred
    cdef bint final                     # no message follows the present one: trailers come next
    cdef bint plain                     # an HTTP answer without gRPC's trailers
    cdef object error                   # the RequestError of a streaming call's end, or of headers that found no memory, or None
    cdef bytes authorization            # the header's value, where the endpoint's guard wants to see it and it is not the last one again
    cdef bint is_authorized             # it is the last one that the guard let through on this connection
    cdef Pace pace
    cdef public object listener         # called without arguments when a streaming call's state has changed, or None

    def __init__(self):
        raise TypeError("Http2Call is made by a Session")

    @property
    def metadata(self):
        """The client's own metadata, in order: (name, value) pairs of bytes; reserved headers are left out. Empty for the
        hot method, and once the stream is closed."""
        return list(self.metadata_items or ())

    @property
    def sending(self):
        """Whether bytes of the last message still wait to be sent."""
        return self.unsent_nbytes > 0 or self.outgoing is not None

    @property
    def request_over(self):
        """Whether the client sends no more, and no message of it is being decompressed: when take_message has none, none will come."""
        return self.half_closed and self.incoming is None

    cpdef reply(self, message):
        if self.closed:
            return
        if self.session is not None and not self.session.has_room(len(message)):
            self.session.fail(self, self.session.unread_error(len(message)))
            return
        answer = pooled(message)        # raises, if it does, before the call counts as answered
        self.closed = True
        self.request = None
        self.final = True
        self.send(answer)

    cpdef fail(self, error):
        if self.closed:
            return
        self.closed = True
        self.request = None
        self.final = True
        if self.session is None:
            return
        self.drop_request()
        self.drop_outgoing()
        if self.headers_sent:
            self.error = error
            self.resume()
        else:
            self.send_status(error)

    def write(self, message):
        """Sends one message of a streaming answer. The caller waits until `sending` is False before the next.
        Raises ResourceExhausted when the connection's client leaves too much unread."""
        if self.closed or self.session is None:
            return
        if not self.session.has_room(len(message)):
            raise self.session.unread_error(len(message))
        self.send(pooled(message))

    def end(self):
        """Ends a streaming answer with OK."""
        if self.closed:
            return
        self.closed = True
        self.final = True
        if self.session is None:
            return
        self.drop_request()
        if self.headers_sent:
            self.resume()
        else:
            self.submit_headers()

    def take_message(self):
        """The next message of a streaming request, or None while there is none. Taking one opens the window for more.
        Raises RequestError when what the client sent is no message."""
        cdef Message message
        if self.incoming is None:
            message = self.next_message()
            if message is None or not message.compressed or self.session is None:
                return message
            self.decompress(message)
        return self.decompressed()

    cdef Message next_message(self):
        """The one that came first, as it came."""
        cdef Message message = self.message
        cdef const uint8_t *unread
        cdef Py_ssize_t nbytes, taken
        self.message = None
        if message is not None and self.backlog is not None and self.session is not None:
            unread = <const uint8_t *>PyByteArray_AS_STRING(self.backlog)
            nbytes = taken = PyByteArray_GET_SIZE(self.backlog)
            self.feed(&unread, &nbytes, self.session.endpoint.max_message_nbytes)
            taken -= nbytes
            if nbytes == 0:
                self.backlog = None
            else:
                del self.backlog[:taken]
            self.give_back(taken)
            nghttp2_session_consume(self.session.session, self.stream_id, taken)
            self.session.mark_dirty()
        if message is None and self.half_closed and not self.closed:
            self.check_ended()          # what waited behind the last message may be the beginning of another
        return message

    cdef int check_ended(self) except -1:
        """The client sends no more, and all of it was looked at: raises where that is not the end of a message."""
        if self.partial is not None:
            raise InvalidArgument(f"request message: the stream ended {self.missing_nbytes} bytes before the message did", reason="framing")
        if self.prefix_nbytes > 0:
            raise InvalidArgument(f"request message: expected a {PREFIX_NBYTES}-byte prefix, got {self.prefix_nbytes} bytes",
                                  reason="framing")
        return 0

    cdef bint decompress(self, Message message) except -1:
        """Begins it; True: `decompressed` has the result already. Else go_on is called when it has."""
        self.incoming = Decompression(message, self.encoding, self.session.endpoint.max_message_nbytes, self.go_on, self.deadline_ns)
        return self.session.endpoint.convert(self.session, self.incoming)

    cdef Message decompressed(self):
        """What has become of the message, or None while a thread is at it. Raises what was wrong with it."""
        cdef Conversion conversion = self.incoming
        if not conversion.over:
            return None
        self.incoming = None
        if conversion.error is not None:
            raise conversion.error
        if self.session is not None:
            self.session.endpoint.decompressed_total += 1
            self.session.endpoint.decompressed_nbytes += conversion.result.nbytes
        return conversion.result

    def go_on(self):
        """A thread has decompressed the message."""
        if self.session is None or self.incoming is None:
            return
        if self.kind == STREAM:
            self.notify()
            return
        try:
            self.message = self.decompressed()
            self.session.begin(self)
        except Exception as error:
            self.session.fail(self, error)
        self.session.mark_dirty()       # behind the inline run that the call scheduled: its answer goes along

    cdef int hold(self, Py_ssize_t nbytes) except -1:
        """Bytes that are no message's count in the budget of messages, until the stream is closed at the latest."""
        charge_bytes(nbytes, self.share)
        self.held_nbytes += nbytes
        return 0

    cdef void give_back(self, Py_ssize_t nbytes) noexcept:
        self.held_nbytes -= nbytes
        release_bytes(nbytes, self.share)

    cdef void drop_request(self) noexcept:
        """Nobody will read the rest of the request: its memory is free, and its bytes no longer weigh on the connection's window."""
        cdef Py_ssize_t nbytes
        self.partial = None
        if self.incoming is not None:
            self.incoming.cancel()
            self.incoming = None
        if self.backlog is not None:
            nbytes = PyByteArray_GET_SIZE(self.backlog)
            self.backlog = None
            self.give_back(nbytes)
            nghttp2_session_consume_connection(self.session.session, nbytes)
            self.session.mark_dirty()

    cdef void drop_answer(self) noexcept:
        self.session.unread_nbytes -= self.unsent_nbytes
        self.unsent_nbytes = 0
        self.answer = None
        self.drop_outgoing()

    cdef void drop_outgoing(self) noexcept:
        if self.outgoing is not None:
            self.outgoing.cancel()
            self.outgoing = None
            self.session.compressing_nbytes -= self.outgoing_nbytes

    cdef Owed owed(self) noexcept:
        """What the client must do before this call goes on, memory being held for it meanwhile. A streaming call whose client has
        nothing to say owes nothing, but in a drain."""
        if self.unsent_nbytes > 0:
            if nghttp2_session_get_stream_remote_window_size(self.session.session, self.stream_id) <= 0:
                return ANSWER
            return ANSWERS
        if self.closed:
            return NOTHING              # its end leaves with the next write; if that does not, the connection owes OUTPUT
        if self.incoming is not None:
            return NOTHING              # but time
        if self.kind == STREAM:
            # Messages that wait to be taken count: either they are read as they come, or the method does not want them.
            if self.message is not None or self.backlog is not None or self.partial is not None or self.prefix_nbytes > 0:
                return REQUEST
            if self.received_nbytes == 0 and not self.half_closed:
                return REQUEST          # who opens a stream has something to ask
            return REQUEST if self.session.draining and not self.half_closed else NOTHING
        return NOTHING if self.half_closed else REQUEST

    cdef void end_stalled(self, Owed owed, int64_t limit_ns) noexcept:
        """The client has owed this for too long: it is told where it can be, and the call holds nothing more."""
        request = self.request
        if owed == REQUEST:
            self.session.fail(self, self.stall_error(limit_ns))
            if request is not None:
                try:
                    request.cancel()
                except Exception as error:
                    self.session.endpoint.log(error)
        else:
            self.abandon()
            self.drop_request()
            self.drop_answer()
            nghttp2_submit_rst_stream(self.session.session, NGHTTP2_FLAG_NONE, self.stream_id, NGHTTP2_CANCEL)
            self.session.mark_dirty()
        self.message = None

    cdef stall_error(self, int64_t limit_ns):
        if self.session.draining:
            return Unavailable("the server is stopping, and the rest of the request did not come; send it to another replica",
                               reason="stalled")
        if self.message is not None or self.backlog is not None:
            return DeadlineExceeded(f"{self.method}: messages came that were not asked for, and nobody took them for {limit_ns / 1e9:g} s "
                                    f"(stall_timeout_s)", reason="stalled")
        return DeadlineExceeded(
            f"{self.method}: expected the whole request, or {LEAST_RATE} bytes of it a second, got less for {limit_ns / 1e9:g} s "
            f"(stall_timeout_s)", reason="stalled")

    cdef int send(self, Message answer) except -1:
        if self.session is None:
            return 0
        if self.compresses and answer.nbytes >= LEAST_COMPRESSED_NBYTES:
            self.outgoing = Compression(answer, self.session.endpoint.compression, self.send_compressed)
            self.outgoing_nbytes = answer.nbytes
            self.session.compressing_nbytes += answer.nbytes
            if self.session.endpoint.convert(self.session, self.outgoing):
                self.send_compressed()
        else:
            self.put(answer)
        return 0

    def send_compressed(self):
        """The answer is compressed; or it goes as it was, where that saves nothing or there is no memory for it."""
        cdef Conversion conversion = self.outgoing
        if conversion is None:
            return
        self.outgoing = None
        self.session.compressing_nbytes -= self.outgoing_nbytes
        if conversion.result is None:
            self.put(conversion.source)
            return
        self.session.endpoint.compressed_total += 1
        self.session.endpoint.saved_nbytes += conversion.source.nbytes - conversion.result.nbytes
        self.put(conversion.result)

    cdef void put(self, Message answer) noexcept:
        self.answer = answer
        self.unsent = framed(answer)
        self.unsent_nbytes = answer.nbytes + PREFIX_NBYTES
        self.session.unread_nbytes += self.unsent_nbytes
        self.session.conduct.answered = True
        if self.headers_sent:
            self.resume()
        else:
            self.submit_headers()

    cdef void submit_headers(self) noexcept:
        cdef nghttp2_data_provider2 provider
        provider.source.ptr = <void *>self
        provider.read_callback = read_answer
        self.headers_sent = True
        if self.compresses and (self.kind == STREAM or self.answer.compressed):
            nghttp2_submit_response2(self.session.session, self.stream_id, self.session.endpoint.compressed_headers, 3, &provider)
        else:
            nghttp2_submit_response2(self.session.session, self.stream_id, ANSWER_HEADERS, 2, &provider)
        self.session.mark_dirty()

    cdef void resume(self) noexcept:
        if self.deferred:
            self.deferred = False
            nghttp2_session_resume_data(self.session.session, self.stream_id)
        self.session.mark_dirty()

    cdef int send_status(self, error) except -1:
        """Trailers-only: the whole answer is one HEADERS frame. The stream is reset after it when the client still sends."""
        cdef nghttp2_nv headers[6]
        cdef size_t count = 4
        cdef bytes code = b"%d" % error.code
        cdef bytes text = percent_encode(str(error))
        cdef bytes details = status_details(error)
        headers[0] = ANSWER_HEADERS[0]
        headers[1] = ANSWER_HEADERS[1]
        headers[2] = header(GRPC_STATUS, code)
        headers[3] = header(GRPC_MESSAGE, text)
        if details:
            headers[count] = header(GRPC_DETAILS, details)
            count += 1
        if self.bad_encoding:
            headers[count] = constant_header(ACCEPT_ENCODING, ENCODINGS)
            count += 1
        self.headers_sent = self.session.conduct.answered = True
        nghttp2_submit_response2(self.session.session, self.stream_id, headers, count, NULL)
        self.stop_upload()
        self.session.mark_dirty()
        return 0

    cdef int send_plain(self, int status, bytes text) except -1:
        """An answer for a client that does not speak gRPC: an HTTP status and one line of text."""
        cdef nghttp2_nv headers[2]
        cdef nghttp2_data_provider2 provider
        cdef bytes code = b"%d" % status
        self.closed = True
        self.final = True
        self.plain = True
        self.headers_sent = True
        headers[0] = header(STATUS, code)
        headers[1] = constant_header(CONTENT_TYPE, TEXT)
        self.answer = Message(text)
        self.unsent = self.answer.data
        self.unsent_nbytes = self.answer.nbytes
        self.session.unread_nbytes += self.unsent_nbytes
        provider.source.ptr = <void *>self
        provider.read_callback = read_answer
        nghttp2_submit_response2(self.session.session, self.stream_id, headers, 2, &provider)
        self.session.mark_dirty()
        return 0

    cdef void submit_trailers(self) noexcept:
        """After the last message, from inside read_answer."""
        cdef nghttp2_nv trailers[3]
        cdef size_t count = 2
        cdef bytes code, text, details
        if self.error is None:
            nghttp2_submit_trailer(self.session.session, self.stream_id, OK_TRAILERS, 1)
        else:
            code = b"%d" % self.error.code
            text = percent_encode(str(self.error))
            details = status_details(self.error)
            trailers[0] = header(GRPC_STATUS, code)
            trailers[1] = header(GRPC_MESSAGE, text)
            if details:
                trailers[2] = header(GRPC_DETAILS, details)
                count = 3
            nghttp2_submit_trailer(self.session.session, self.stream_id, trailers, count)
        self.stop_upload()

    cdef void stop_upload(self) noexcept:
        """The answer is whole while the client still sends: RST_STREAM(NO_ERROR) after it says to stop (RFC 9113, 8.1).
        Not before the answer has left: nghttp2 sends nothing more on a stream whose reset is queued."""
        if not self.half_closed:
            if self.session.uploads is None:
                self.session.uploads = []
            self.session.uploads.append(self)

    cdef void notify(self) noexcept:
        if self.listener is not None:
            try:
                self.listener()
            except Exception as error:
                self.session.endpoint.log(error)


cdef nghttp2_ssize read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
                               uint32_t *data_flags, nghttp2_data_source *source, void *user_data) noexcept:
    """nghttp2 asks for at most `length` bytes of a call's answer."""
    cdef Http2Call call = <Http2Call>source.ptr
    cdef Py_ssize_t nbytes = min(<Py_ssize_t>length, call.unsent_nbytes)
    if nbytes > 0:
        memcpy(buffer, call.unsent, nbytes)
        call.sent_nbytes += nbytes
        call.session.sent_nbytes += nbytes
        call.unsent += nbytes
        call.unsent_nbytes -= nbytes
        call.session.unread_nbytes -= nbytes
    if call.unsent_nbytes > 0:
        return nbytes
    call.answer = None
    if call.final:
        data_flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if call.plain:
            call.stop_upload()
        else:
            data_flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            call.submit_trailers()
        return nbytes
    if nbytes > 0:
        call.notify()                   # the writer may go on
        return nbytes
    call.deferred = True
    return NGHTTP2_ERR_DEFERRED


cdef class Endpoint:
    """What all connections of one server share: the service table, limits, buffers and counters.

    methods: the service table, "/package.Service/Method" -> Method. start(call, method): begins a unary call whose message
    is there, or a streaming call whose headers are there. unserved(path): the refusal of an unknown method. refuse(call, error):
    answers any exception that a method raised.
    guard(method, authorization): raises a RequestError for a call that may not be made with that `authorization` header (bytes, or
    None). True: the header is good for all calls of its connection, until guard_changed().
    in_thread(session, conversion): calls conversion.run() on another thread and conversion.done() on the loop's after it, for what it
    would take the loop too long to compress or decompress. compression: of answers, for clients that take it: "none", "gzip", "deflate".
    schedule(callback): runs callback at the end of the loop's present iteration; call_later(seconds, callback): then. Limits are
    in bytes, or counts.
    """

    cdef dict methods                   # bytes path -> Method
    cdef bytes infer_path               # the hot method's path; compared before the table is asked
    cdef str infer_method               # the same as text
    cdef object infer_row, infer_handler
    cdef object start, refuse, schedule, call_later, unserved
    cdef object guard                   # or None: every call may be made
    cdef uint64_t guard_epoch           # grows when the guard may say something else of what it let through
    cdef list dirty                     # sessions with output, in the order in which it came
    cdef bint flush_scheduled
    cdef list gathering                 # sessions whose socket may wait for more than one byte
    cdef public int64_t turn_ns         # TURN_NS, but in tests
    cdef Py_ssize_t gather_nbytes       # GATHER_NBYTES, or what the windows surely let a client send
    cdef uint8_t *receive_buffer
    cdef uint8_t *send_buffer
    cdef readonly Py_ssize_t max_message_nbytes, max_header_nbytes, max_unread_nbytes
    cdef size_t max_outbound_frames     # that wait for a client that reads nothing
    cdef readonly uint32_t max_streams, stream_window_nbytes, connection_window_nbytes
    cdef readonly int64_t connections, calls        # now
    cdef readonly uint64_t received_nbytes, sent_nbytes, connections_total, calls_total, abandoned_total, protocol_errors_total
    cdef readonly uint64_t stalled_total            # calls ended because their client did not move
    cdef int memory_percent                         # of the message memory that others leave free, for one connection
    cdef bint fair                                  # connections take turns in a model's queue
    cdef Terms terms                                # how long connections last
    cdef Rules rules                                # what clients may send that asks for nothing
    cdef readonly uint64_t flooding_total, pinging_total        # connections cut off for too many control frames, or PINGs
    cdef readonly uint64_t dead_total               # connections cut off because a PING was not answered
    cdef readonly uint64_t retired_total, idle_total, overdue_total     # told to leave for their age, for having no calls; cut off after it
    cdef object in_thread
    cdef str compression                # of answers: "gzip", "deflate", or None
    cdef bytes encoding                 # the same as bytes
    cdef nghttp2_nv[3] compressed_headers           # of such answers
    cdef Py_ssize_t inline_nbytes       # that the loop may still decompress before the next read or flush
    cdef readonly uint64_t decompressed_total, decompressed_nbytes      # messages of requests, what they became
    cdef readonly uint64_t compressed_total, saved_nbytes               # messages of answers, bytes that they had more before

    def __cinit__(self):
        self.receive_buffer = <uint8_t *>malloc(RECEIVE_NBYTES)
        self.send_buffer = <uint8_t *>malloc(SEND_NBYTES)
        if self.receive_buffer == NULL or self.send_buffer == NULL:
            raise MemoryError()

    def __init__(self, methods, *, start, refuse, unserved, schedule, call_later, in_thread, guard=None, str compression="none",
                 Py_ssize_t max_message_nbytes=64 << 20, Py_ssize_t max_header_nbytes=16 << 10,
                 Py_ssize_t max_unread_nbytes=64 << 20, uint32_t max_streams=1024, uint32_t stream_window_nbytes=1 << 20,
                 uint32_t connection_window_nbytes=4 << 20, int64_t max_control_frame_rate=1000, int64_t min_ping_interval_ns=0,
                 int64_t keepalive_ns=0, int64_t keepalive_timeout_ns=20 * 10**9, int64_t max_idle_ns=0, int64_t age_grace_ns=0,
                 int memory_percent=100, bint fair=True):
        self.methods = {path.encode(): row for path, row in methods.items()}
        self.infer_path = b""
        for path, row in methods.items():
            if row.kind == "infer":
                self.infer_path, self.infer_method, self.infer_row, self.infer_handler = path.encode(), path, row, row.handler
        self.start, self.refuse, self.unserved, self.schedule, self.call_later = start, refuse, unserved, schedule, call_later
        self.guard = guard
        self.in_thread = in_thread
        if compression != "none":
            self.compression, self.encoding = compression, GZIP if compression == "gzip" else DEFLATE
        self.compressed_headers = [ANSWER_HEADERS[0], ANSWER_HEADERS[1], constant_header(ENCODING, self.encoding or GZIP)]
        self.dirty = []
        self.gathering = []
        self.max_message_nbytes = max_message_nbytes
        self.max_header_nbytes = max_header_nbytes
        self.max_unread_nbytes = max_unread_nbytes
        self.max_streams = max_streams
        self.max_outbound_frames = MAX_OUTBOUND_ACKS + MAX_STREAM_FRAMES * <size_t>max_streams
        self.stream_window_nbytes = stream_window_nbytes
        self.connection_window_nbytes = connection_window_nbytes
        self.turn_ns = TURN_NS
        self.rules.control_step_ns = 1_000_000_000 // max_control_frame_rate
        self.rules.control_burst = CONTROL_BURST_S * max_control_frame_rate
        self.rules.min_ping_interval_ns = min_ping_interval_ns
        self.memory_percent, self.fair = memory_percent, fair
        self.terms.keepalive_ns, self.terms.keepalive_timeout_ns = keepalive_ns, keepalive_timeout_ns
        self.terms.max_idle_ns, self.terms.grace_ns = max_idle_ns, age_grace_ns
        # nghttp2 opens a window again when half of it was consumed.
        self.gather_nbytes = min(<Py_ssize_t>GATHER_NBYTES, min(stream_window_nbytes, connection_window_nbytes) // 2)

    def __dealloc__(self):
        free(self.receive_buffer)
        free(self.send_buffer)

    def __getbuffer__(self, Py_buffer *view, int flags):
        """The receive buffer: a transport reads into it, then calls buffer_updated of the connection at once."""
        PyBuffer_FillInfo(view, self, self.receive_buffer, RECEIVE_NBYTES, 0, flags)

    def __len__(self):
        """Bytes of the receive buffer; asyncio's own loop asks for it."""
        return RECEIVE_NBYTES

    def __getitem__(self, piece):
        """A view of a piece of the receive buffer: asyncio's own TLS reads record by record."""
        return memoryview(self)[piece]

    def flush(self):
        """Writes what waits to be sent, one write a connection."""
        cdef Session session
        cdef list sessions = self.dirty
        self.flush_scheduled = False
        self.inline_nbytes = INLINE_NBYTES
        if not sessions:
            return
        self.dirty = []
        for session in sessions:
            session.dirty = False
            try:
                session.flush()
            except Exception:           # its transport is gone and has not said so yet: connection_lost follows
                session.end()

    cdef bint convert(self, Session session, Conversion conversion) noexcept:
        """What takes little is done here, as long as it is not much of it, and all else on a thread. True: it is over."""
        cdef bint over
        if conversion.inline_nbytes > 0 and self.inline_nbytes > 0:
            over = conversion.attempt(conversion.inline_nbytes)
            self.inline_nbytes -= conversion.weight * conversion.moved_nbytes
            if over:
                return True
            conversion.restart()
        try:
            self.in_thread(session, conversion)
            return False
        except Exception as error:
            conversion.fail(error)
            return True

    def guard_changed(self):
        """What the guard let through so far, it is asked for again."""
        self.guard_epoch += 1

    def end_gathering(self, int64_t now_ns=0):
        """Who did not send so much in GATHER_S is read as it comes. now_ns: monotonic; 0: look at the clock."""
        cdef Session session
        cdef list sessions = self.gathering
        self.gathering = []
        for session in sessions:
            session.gathers = False
            session.end_gathering(now_ns or monotonic_ns())

    cdef void log(self, error) noexcept:
        try:
            import logging
            logging.getLogger("inferd.http2").error("a call failed in an unexpected way", exc_info=error)
        except Exception:
            pass                        # logging itself failed: nothing is left to say it with


cdef class Session:
    """One connection's HTTP/2 session: feed it what came, and it writes what must go.

    endpoint: shared by all. write(bytes): hands bytes to the transport. close_transport(): ends the connection
    after what was written.
    """

    cdef nghttp2_session *session
    cdef readonly Endpoint endpoint
    cdef object write, close_transport
    cdef public object refusal          # a RequestError that every call of this connection is answered with, or None
    cdef bytes authorized               # the `authorization` header that the guard let through last, or None,
    cdef uint64_t authorized_epoch      # and when
    cdef PyObject *head                 # the list of live calls, borrowed: the streams hold the references
    cdef Http2Call opening              # whose headers are being received
    cdef Py_ssize_t trailer_nbytes      # of the block of trailers that is being received
    cdef readonly int64_t calls
    cdef Share share                    # of its messages in the memory for all, or None: all of it
    cdef uint32_t source                # the connection's number, from 1 on; 0: its calls wait in order of arrival with all others
    cdef Py_ssize_t unread_nbytes       # answers that wait for the client to take them
    cdef Py_ssize_t compressing_nbytes  # and those that a thread compresses
    cdef uint64_t sent_nbytes           # of messages, taken by nghttp2
    cdef uint64_t written_nbytes        # handed to the transport
    cdef uint64_t received_nbytes
    cdef Pace preface_pace              # until the client has said that it speaks HTTP/2
    cdef Pace answers_pace, output_pace # of sent_nbytes, and of what the transport got rid of
    cdef Lifetime lifetime
    cdef int64_t max_age_ns             # when it is told to leave; 0: never
    cdef int32_t aged_stream_id         # the newest stream at the last look at the lifetime
    cdef Conduct conduct
    cdef int descriptor                 # of the socket, or -1
    cdef int low_water_nbytes           # what must have come before the loop is woken
    cdef int64_t read_ns                # monotonic; the last read after which more than one byte is waited for
    cdef uint64_t gather_from_nbytes    # of received_nbytes: until then it stays one byte
    cdef bint gathers                   # is in the endpoint's list of those who may wait for more than one byte
    cdef Py_ssize_t missing_nbytes      # the least that a message lacks of those that the present read brought a piece of; 0: none
    cdef bytes rest                     # what came and waits for the connection's next turn, or None
    cdef Py_ssize_t payload_nbytes      # at least so many bytes that come next are DATA's payload
    cdef list uploads                   # calls whose answer is whole while the client still sends, or None
    cdef bint dirty                     # is in the endpoint's list
    cdef bint receiving                 # inside nghttp2_session_mem_recv2
    cdef bint paused                    # the transport takes no more for now
    cdef bint started                   # the client's preface was right, settings included
    cdef bint draining                  # GOAWAY was said
    cdef bint expecting                 # a call was handed over: its answer may be there by the end of this iteration
    cdef bint ended                     # the transport was asked to close
    cdef readonly bint closed           # the connection is gone

    def __cinit__(self, *args, **kwargs):
        global live_count
        if COUNTED:
            live_count += 1

    def __init__(self, Endpoint endpoint not None):
        self.endpoint = endpoint
        self.descriptor = -1
        self.low_water_nbytes = 1

    def open(self, write, close_transport, int descriptor=-1, int64_t max_age_ns=0):
        """The connection is made. write(bytes) and close_transport() are the transport's, descriptor its socket's; -1: the transport
        always says at once what came. max_age_ns: when it is told to leave; 0: never. Our settings leave with the first answer to what
        the client sends, never before its preface: who speaks HTTP/1.1 would take them for garbage."""
        cdef nghttp2_settings_entry settings[4]
        cdef Endpoint endpoint = self.endpoint
        self.write, self.close_transport, self.descriptor, self.max_age_ns = write, close_transport, descriptor, max_age_ns
        if nghttp2_session_server_new2(&self.session, callbacks, <void *>self, options) != 0:
            raise MemoryError()
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, endpoint.max_streams
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, endpoint.stream_window_nbytes
        settings[2].settings_id, settings[2].value = NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME_NBYTES
        settings[3].settings_id, settings[3].value = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, endpoint.max_header_nbytes
        nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, settings, 4)
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, endpoint.connection_window_nbytes)
        endpoint.connections += 1
        endpoint.connections_total += 1
        self.source = <uint32_t>endpoint.connections_total if endpoint.fair else 0
        if endpoint.memory_percent < 100:
            self.share = Share(endpoint.memory_percent)

    def get_buffer(self, Py_ssize_t sizehint):
        """Where the transport reads into."""
        return self.endpoint

    def buffer_updated(self, Py_ssize_t nbytes):
        """`nbytes` bytes have come into the endpoint's buffer."""
        if self.ended or self.closed:
            return
        self.endpoint.received_nbytes += nbytes
        self.received_nbytes += nbytes
        if self.rest is not None:       # the transport had read these before it was held
            self.rest += PyBytes_FromStringAndSize(<char *>self.endpoint.receive_buffer, nbytes)
            return
        self.endpoint.inline_nbytes = INLINE_NBYTES
        self.take(self.endpoint.receive_buffer, nbytes)

    def take_rest(self):
        """The connection's next turn."""
        cdef bytes rest = self.rest
        self.rest = None
        if rest is None or self.ended or self.closed:
            return
        self.take(<const uint8_t *>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))
        if self.rest is None:
            self.hold_reading(False)

    def hold_reading(self, bint held):
        """A transport reads nothing while it is held. Tests and others that feed bytes have no need of it."""

    cdef nghttp2_ssize take_turn(self, const uint8_t *source, Py_ssize_t nbytes) noexcept:
        """Hands nghttp2 what came. A byte of frames can cost a thousand times as much as one of a message: what has not been read within
        a turn waits until others had theirs."""
        cdef Py_ssize_t taken = 0, piece
        cdef nghttp2_ssize result
        cdef int64_t until_ns = monotonic_ns() + self.endpoint.turn_ns if nbytes > PIECE_NBYTES else 0
        while taken < nbytes:
            piece = min(nbytes - taken, max(<Py_ssize_t>PIECE_NBYTES, self.payload_nbytes))
            result = nghttp2_session_mem_recv2(self.session, source + taken, piece)
            if result < 0:
                return result
            taken += piece
            self.payload_nbytes -= piece    # more than what is left of the frame, if it began in this piece: the clock is looked at sooner
            if taken < nbytes and monotonic_ns() >= until_ns:
                self.leave(source + taken, nbytes - taken)
                break
        return taken

    cdef void leave(self, const uint8_t *source, Py_ssize_t nbytes) noexcept:
        """For the next turn."""
        try:
            self.rest = PyBytes_FromStringAndSize(<const char *>source, nbytes)
            self.hold_reading(True)
            self.endpoint.schedule(self.take_rest)
        except Exception as error:
            self.endpoint.log(error)
            self.end()

    cdef int take(self, const uint8_t *source, Py_ssize_t nbytes) except -1:
        cdef nghttp2_ssize taken
        self.receiving = True
        self.expecting = False
        self.missing_nbytes = 0
        taken = self.take_turn(source, nbytes)
        self.receiving = False
        if taken == NGHTTP2_ERR_FLOODED:        # more than MAX_OUTBOUND_ACKS in one read
            self.end_flood()
            return 0
        if taken < 0 or (self.paused and nghttp2_session_get_outbound_queue_size(self.session) > self.endpoint.max_outbound_frames):
            self.endpoint.protocol_errors_total += 1
            if taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC and not self.started:
                self.write(HTTP_1_ANSWER)
            else:                       # beyond MAX_CONTINUATIONS and its like nghttp2 gives up without a word
                nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                                      NGHTTP2_ENHANCE_YOUR_CALM, NULL, 0)
                self.flush()
            self.end()
            return 0
        if self.conduct.control_frames > 0 and self.is_too_much():
            return 0
        if self.descriptor >= 0:
            self.gather(nbytes)
        if self.received_nbytes < PREFACE_NBYTES:
            return 0                    # whoever speaks HTTP/1.1 would take our settings for garbage
        if self.expecting or nghttp2_session_want_write(self.session) or not nghttp2_session_want_read(self.session):
            self.mark_dirty()           # behind the inline run that a call scheduled: its answer goes along
        return 0

    cdef bint is_too_much(self) noexcept:
        """Whether the client sends more frames that ask for nothing than it may; the connection has ended then."""
        cdef Verdict verdict = judge(&self.conduct, &self.endpoint.rules, nghttp2_session_get_last_proc_stream_id(self.session),
                                     self.sent_nbytes, monotonic_ns())
        if verdict == FINE:
            return False
        if verdict == PINGING:
            self.endpoint.pinging_total += 1
            self.calm_down(b"too_many_pings")           # gRPC's word: its clients ping half as often then
        else:
            self.end_flood()
        return True

    cdef void end_flood(self) noexcept:
        self.endpoint.flooding_total += 1
        self.calm_down(b"too_many_control_frames")

    cdef void calm_down(self, bytes why) noexcept:
        """GOAWAY, and the end: calls under way are lost, as at any server of gRPC."""
        nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                              NGHTTP2_ENHANCE_YOUR_CALM, <const uint8_t *>PyBytes_AS_STRING(why), PyBytes_GET_SIZE(why))
        try:
            self.flush()
        except Exception:               # its transport is gone and has not said so yet
            pass
        self.end()

    cdef void gather(self, Py_ssize_t read_nbytes) noexcept:
        """Where a large message comes fast, as half a buffer at once shows, the loop sleeps until a good piece of it is there: being
        woken costs the process more than taking the bytes. end_gathering looks after clients that pause."""
        cdef Py_ssize_t nbytes = 1
        if self.missing_nbytes >= FRAME_NBYTES and self.received_nbytes >= self.gather_from_nbytes and (
                self.low_water_nbytes > 1 or read_nbytes >= RECEIVE_NBYTES // 2):
            nbytes = min(self.missing_nbytes, self.endpoint.gather_nbytes)
            self.read_ns = monotonic_ns()
        self.set_low_water(<int>nbytes)

    cdef void end_gathering(self, int64_t now_ns) noexcept:
        if self.low_water_nbytes > 1 and now_ns - self.read_ns >= PAUSE_NS:
            self.gather_from_nbytes = self.received_nbytes + PAUSED_NBYTES
        self.set_low_water(1)

    cdef void set_low_water(self, int nbytes) noexcept:
        cdef Endpoint endpoint = self.endpoint
        if nbytes == self.low_water_nbytes or self.closed:
            return
        if nbytes > 1 and not self.gathers:
            try:
                if not endpoint.gathering:
                    endpoint.call_later(GATHER_S, endpoint.end_gathering)
                endpoint.gathering.append(self)
                self.gathers = True
            except Exception as error:
                endpoint.log(error)
                return
        if setsockopt(self.descriptor, SOL_SOCKET, SO_RCVLOWAT, &nbytes, sizeof(nbytes)) == 0:
            self.low_water_nbytes = nbytes

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

    cpdef flush(self):
        """Writes all output that the transport takes now; ends the connection when HTTP/2 is done with it."""
        cdef const uint8_t *piece
        cdef nghttp2_ssize nbytes
        cdef Py_ssize_t filled = 0
        cdef uint8_t *buffer = self.endpoint.send_buffer
        if self.ended or self.closed:
            return
        while not self.paused:
            nbytes = nghttp2_session_mem_send2(self.session, &piece)
            if nbytes <= 0:
                if nbytes < 0:
                    self.end()
                    return
                if self.uploads is None:
                    break
                self.stop_uploads()
                continue
            if filled + nbytes > SEND_NBYTES:
                self.put(buffer, filled)
                filled = 0
            if nbytes > SEND_NBYTES:
                self.put(piece, nbytes)
            else:
                memcpy(buffer + filled, piece, nbytes)
                filled += nbytes
        if filled > 0:
            self.put(buffer, filled)
        if not nghttp2_session_want_read(self.session) and not nghttp2_session_want_write(self.session):
            self.end()

    cdef void stop_uploads(self) noexcept:
        cdef Http2Call call
        cdef list calls = self.uploads
        self.uploads = None
        for call in calls:
            if call.session is not None and not call.half_closed:
                nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, call.stream_id, NGHTTP2_NO_ERROR)

    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
        self.endpoint.sent_nbytes += nbytes
        self.written_nbytes += nbytes
        self.write(PyBytes_FromStringAndSize(<const char *>piece, nbytes))
        return 0

    def pause_writing(self):
        """The transport's buffer is full: nothing is taken from nghttp2 until resume_writing."""
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.mark_dirty()

    def end_stalled(self, int64_t now_ns, Py_ssize_t waiting_nbytes, int64_t request_limit_ns, int64_t answer_limit_ns):
        """Ends each call that has waited too long for its client, memory being held: for request_limit_ns for the rest of the
        request, for answer_limit_ns that the answer is read, while less than LEAST_RATE moved. True: the connection must be cut
        off, since its client reads nothing of it, or stopped within a request's headers. Asked now and then with the
        monotonic time and how many bytes the transport holds."""
        cdef Http2Call call
        cdef Owed owed
        cdef bint blocked = False
        cdef list stalled = []
        cdef list late = []             # whose deadline has passed before the request was whole
        if self.ended or self.closed:
            return False                # the transport was asked to close, and has a limit of its own
        if is_stalled(&self.preface_pace, NOTHING if self.started else REQUEST, 0, now_ns, request_limit_ns, LEAST_RATE):
            return True
        call = <Http2Call>self.head if self.head != NULL else None
        while call is not None and len(stalled) < MAX_ENDED:
            owed = call.owed()
            if owed == ANSWERS:         # not this call's own doing: the connection is judged
                blocked = True
                owed = NOTHING
            if is_stalled(&call.pace, owed, call.sent_nbytes if owed == ANSWER else call.received_nbytes, now_ns,
                          answer_limit_ns if owed == ANSWER else request_limit_ns, LEAST_RATE):
                if call is self.opening:
                    return True
                stalled.append(call)
            elif (owed == REQUEST or call.incoming is not None) and call.kind != STREAM and now_ns >= call.deadline_ns and (
                    call is not self.opening):
                late.append(call)
            call = call.next
        # Both are asked at every look, whatever the other says. While the transport takes nothing, nghttp2 is asked for nothing.
        blocked &= is_stalled(&self.answers_pace, ANSWERS if self.unread_nbytes > 0 and not self.paused else NOTHING, self.sent_nbytes,
                              now_ns, answer_limit_ns, LEAST_RATE)
        if is_stalled(&self.output_pace, OUTPUT if waiting_nbytes > 0 else NOTHING, self.written_nbytes - waiting_nbytes,
                      now_ns, answer_limit_ns, LEAST_RATE) or blocked:
            return True
        for call in late:
            self.fail(call, DeadlineExceeded(f"{call.method}: the deadline passed before the request was whole", reason="deadline"))
            call.message = None
        for call in stalled:
            if call.session is not None:
                self.endpoint.stalled_total += 1
                call.end_stalled(call.pace.owed, request_limit_ns)
        return False

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

    cdef void end(self) noexcept:
        """Asks the transport to close; connection_lost follows."""
        if not self.ended and not self.closed:
            self.ended = True
            try:
                self.close_transport()
            except Exception as error:
                self.endpoint.log(error)

    def close(self):
        """The connection is gone: its calls are abandoned and all memory is given back. Idempotent."""
        cdef Http2Call call
        if self.closed:
            return
        self.closed = True
        if self.session == NULL:
            return
        self.endpoint.connections -= 1
        self.opening = self.uploads = self.rest = None
        while self.head != NULL:
            call = <Http2Call>self.head
            self.unlink(call)
        nghttp2_session_del(self.session)
        self.session = NULL
        self.write = self.close_transport = None

    def __dealloc__(self):
        global live_count
        if COUNTED:
            live_count -= 1
        if self.session != NULL:
            nghttp2_session_del(self.session)

    cdef void mark_dirty(self) noexcept:
        cdef Endpoint endpoint = self.endpoint
        if self.dirty or self.receiving or self.ended or self.closed:
            return                      # after receiving, buffer_updated looks whether there is output
        self.dirty = True
        endpoint.dirty.append(self)
        if not endpoint.flush_scheduled:
            endpoint.flush_scheduled = True
            try:
                endpoint.schedule(endpoint.flush)
            except Exception as error:
                endpoint.log(error)

    cdef void link(self, Http2Call call) noexcept:
        """The stream is open and holds its call."""
        Py_INCREF(call)
        call.session = self
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
        call.notify()
        call.listener = None
        call.error = None               # it may hold frames that hold the call
        call.session = None
        self.calls -= 1
        self.endpoint.calls -= 1
        Py_DECREF(call)

    cdef bint has_room(self, Py_ssize_t nbytes) noexcept:
        """Whether an answer of that size may wait for the client to read it; one may always, or it could never be given."""
        cdef Py_ssize_t waiting_nbytes = self.unread_nbytes + self.compressing_nbytes
        return waiting_nbytes == 0 or waiting_nbytes + nbytes <= self.endpoint.max_unread_nbytes

    cdef unread_error(self, Py_ssize_t nbytes):
        cdef Py_ssize_t waiting_nbytes = self.unread_nbytes + self.compressing_nbytes
        return ResourceExhausted(
            f"this connection has {waiting_nbytes} bytes of answers that were not read, and no room for {nbytes} more under "
            f"its limit of {self.endpoint.max_unread_nbytes} (max_unread_bytes); read answers before you send more requests",
            reason="unread", retry_after_ns=100_000_000)

    cdef void fail(self, Http2Call call, error) noexcept:
        """The one place where an exception becomes an answer; the service says how."""
        try:
            self.endpoint.refuse(call, error)
        except Exception as unexpected:
            self.endpoint.log(unexpected)
            nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, call.stream_id, NGHTTP2_INTERNAL_ERROR)

    cdef void headers_complete(self, Http2Call call) noexcept:
        """All request headers are there: refuses what is not a call that this server knows."""
        try:
            if call.too_many_headers:           # first: what is looked for below may be among those that were not read
                raise ResourceExhausted(
                    f"metadata: expected at most {self.endpoint.max_header_nbytes} bytes (max_header_bytes) in {MAX_METADATA} entries, "
                    f"got more; send less metadata", reason="header_size")
            if call.error is not None:
                raise call.error
            if not call.is_post:
                call.send_plain(405, b"gRPC calls are POST requests; this port serves nothing else.\n")
                return
            if not call.is_grpc:
                call.send_plain(415, b"Expected content-type application/grpc; this port serves gRPC only.\n")
                return
            if self.refusal is not None:
                self.fail(call, self.refusal)   # not raised: it would gather a traceback of each call
                return
            if self.endpoint.guard is not None and not call.is_authorized:
                self.ask_guard(call)
            if call.method_row is None:
                raise self.endpoint.unserved(call.method)
            if call.bad_timeout:
                raise InvalidArgument("grpc-timeout: expected 1 to 8 digits and a unit of n, u, m, S, M or H", reason="timeout")
            if call.bad_encoding:
                raise Unimplemented("grpc-encoding: expected identity, deflate or gzip, got another; send messages in one of these",
                                    reason="compression")
            if not self.has_room(0):
                raise self.unread_error(0)
            if call.kind == STREAM:
                self.endpoint.start(call, call.method_row)
        except Exception as error:
            self.fail(call, error)

    cdef int ask_guard(self, Http2Call call) except -1:
        """Raises what the guard does."""
        cdef bytes authorization = call.authorization
        call.authorization = None
        if self.endpoint.guard(call.method, authorization):
            self.authorized, self.authorized_epoch = authorization, self.endpoint.guard_epoch
        return 0

    cdef void message_chunk(self, Http2Call call, const uint8_t *chunk, Py_ssize_t nbytes) noexcept:
        """Bytes of a call's messages. What comes after an answer, or a refusal, is thrown away."""
        cdef Py_ssize_t taken = nbytes
        call.received_nbytes += nbytes
        try:
            if call.kind == STREAM and call.message is None and not call.closed:
                if call.feed(&chunk, &nbytes, self.endpoint.max_message_nbytes):
                    call.notify()
            elif call.kind != STREAM:
                while nbytes > 0 and not call.closed:
                    if call.message is not None:
                        raise Unimplemented(f"{call.method}: expected one request message, got more; it is a unary method",
                                            reason="cardinality")
                    call.feed(&chunk, &nbytes, self.endpoint.max_message_nbytes)
            if call.kind == STREAM and nbytes > 0 and not call.closed:
                call.hold(nbytes)
                if call.backlog is None:        # back-pressure: these bytes stay unconsumed until the reader takes them
                    call.backlog = bytearray()
                call.backlog.extend(<bytes>chunk[:nbytes])
                taken -= nbytes
        except Exception as error:
            self.fail(call, error)
        if call.partial is not None and (self.missing_nbytes == 0 or call.missing_nbytes < self.missing_nbytes):
            self.missing_nbytes = call.missing_nbytes
        nghttp2_session_consume(self.session, call.stream_id, taken)

    cdef void request_complete(self, Http2Call call) noexcept:
        """The client sends no more: a unary call begins here."""
        call.half_closed = True
        if call.closed:
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
                    self.begin(call)
            else:
                self.begin(call)
        except Exception as error:
            self.fail(call, error)

    cdef int begin(self, Http2Call call) except -1:
        """A unary call, whose message is there."""
        if call.kind == INFER:
            self.expecting = True
            self.endpoint.infer_handler(call)
        else:
            self.endpoint.start(call, call.method_row)
        return 0


cdef int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *frame, void *user_data) noexcept:
    """Counts frames that ask for nothing and bring nothing, also those that nghttp2 looks at no further, such as of closed streams.
    Of types that it does not know it says nothing, and skips them."""
    (<Session>user_data).payload_nbytes = frame.length if frame.type == NGHTTP2_DATA else 0
    if frame.type == NGHTTP2_HEADERS or frame.type == NGHTTP2_CONTINUATION or frame.type == NGHTTP2_RST_STREAM:
        return 0                            # these have limits of their own
    if frame.type == NGHTTP2_DATA and not frame.flags & NGHTTP2_FLAG_PADDED and (
            frame.length > 0 or frame.flags & NGHTTP2_FLAG_END_STREAM):
        return 0
    (<Session>user_data).conduct.control_frames += 1
    if frame.type == NGHTTP2_PING and not frame.flags & NGHTTP2_FLAG_ACK:
        (<Session>user_data).conduct.pings += 1
    return 0


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef Http2Call call
    if frame.hd.type != NGHTTP2_HEADERS or frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        self.opening = None             # trailers: their fields say nothing to a gRPC server
        self.trailer_nbytes = 0
        return 0
    call = Http2Call.__new__(Http2Call)
    call.stream_id = frame.hd.stream_id
    call.source, call.share = self.source, self.share
    self.link(call)
    self.opening = call
    nghttp2_session_set_stream_user_data(session, frame.hd.stream_id, <void *>call)
    return 0


cdef int give_up_headers(nghttp2_session *session, int32_t stream_id) noexcept:
    """A byte of HPACK can stand for kilobytes, each of which costs time: the stream is reset, and the rest of the block not looked at.
    gRPC's clients take ENHANCE_YOUR_CALM for RESOURCE_EXHAUSTED; nghttp2 by itself would say INTERNAL_ERROR."""
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_ENHANCE_YOUR_CALM)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE


cdef inline bint equals(const uint8_t *value, size_t nbytes, const char *text, size_t text_nbytes) noexcept:
    return nbytes == text_nbytes and memcmp(value, text, nbytes) == 0


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_nbytes,
                   const uint8_t *value, size_t value_nbytes, uint8_t flags, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef Http2Call call = self.opening
    cdef Endpoint endpoint = self.endpoint
    cdef int64_t timeout
    if call is None:
        self.trailer_nbytes += name_nbytes + value_nbytes + 32
        return 0 if self.trailer_nbytes <= endpoint.max_header_nbytes else give_up_headers(session, frame.hd.stream_id)
    call.header_nbytes += name_nbytes + value_nbytes + 32      # as SETTINGS_MAX_HEADER_LIST_SIZE counts
    if call.header_nbytes > endpoint.max_header_nbytes:
        call.too_many_headers = True
        if call.header_nbytes <= max(ANSWERED_HEADERS * endpoint.max_header_nbytes, <Py_ssize_t>LEAST_ANSWERED_NBYTES):
            return 0
        self.opening = None
        return give_up_headers(session, frame.hd.stream_id)
    if name[0] == c':':
        if equals(name, name_nbytes, ":path", 5):
            if value_nbytes == <size_t>PyBytes_GET_SIZE(endpoint.infer_path) and \
                    memcmp(value, PyBytes_AS_STRING(endpoint.infer_path), value_nbytes) == 0:
                call.kind = INFER
                call.method = endpoint.infer_method
                call.method_row = endpoint.infer_row
            else:
                find_method(endpoint, call, <bytes>value[:value_nbytes])
        elif equals(name, name_nbytes, ":method", 7):
            call.is_post = equals(value, value_nbytes, "POST", 4)
    elif equals(name, name_nbytes, "content-type", 12):
        call.is_grpc = value_nbytes >= 16 and memcmp(value, <const char *>"application/grpc", 16) == 0 and \
            (value_nbytes == 16 or value[16] == c'+' or value[16] == c';')
    elif equals(name, name_nbytes, "grpc-timeout", 12):
        timeout = timeout_ns(value, value_nbytes)
        if timeout < 0:
            call.bad_timeout = True
        else:
            call.deadline_ns = monotonic_ns() + timeout
    elif equals(name, name_nbytes, "grpc-encoding", 13):
        take_encoding(call, value, value_nbytes)
    elif endpoint.compression is not None and equals(name, name_nbytes, "grpc-accept-encoding", 20):
        call.compresses |= lists(value, value_nbytes, endpoint.encoding)
    elif endpoint.guard is not None and equals(name, name_nbytes, "authorization", 13):
        take_authorization(self, call, value, value_nbytes)
    elif not (equals(name, name_nbytes, "te", 2) or equals(name, name_nbytes, "user-agent", 10) or
              equals(name, name_nbytes, "grpc-accept-encoding", 20) or equals(name, name_nbytes, "accept-encoding", 15) or
              equals(name, name_nbytes, "content-length", 14)):
        call.metadata_count += 1
        if call.metadata_count > MAX_METADATA:
            call.too_many_headers = True
        elif call.kind == UNARY or call.kind == STREAM:
            keep_metadata(call, name, name_nbytes, value, value_nbytes)
    return 0


cdef void take_encoding(Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
    call.encoding = None
    if equals(value, nbytes, "gzip", 4):
        call.encoding = "gzip"
    elif equals(value, nbytes, "deflate", 7):
        call.encoding = "deflate"
    call.bad_encoding = call.encoding is None and not equals(value, nbytes, "identity", 8)


cdef bint lists(const uint8_t *value, size_t nbytes, bytes word) noexcept:
    """Whether a header's words, such as "identity, deflate,gzip", have this one among them."""
    cdef size_t begin = 0, end
    while begin < nbytes:
        end = begin
        while end < nbytes and value[end] != c',' and value[end] != c' ':
            end += 1
        if equals(value + begin, end - begin, PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word)):
            return True
        begin = end + 1
    return False


cdef void take_authorization(Session session, Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
    """The guard's, and nobody else's: it is no metadata. It is asked once for what each call of a connection brings alike, which is
    compared in a time that does not depend on where the first difference is."""
    cdef const uint8_t *known
    cdef uint8_t difference = 0
    cdef size_t i
    call.is_authorized = False
    if session.authorized is not None and session.authorized_epoch == session.endpoint.guard_epoch and \
            nbytes == <size_t>PyBytes_GET_SIZE(session.authorized):
        known = <const uint8_t *>PyBytes_AS_STRING(session.authorized)
        for i in range(nbytes):
            difference |= value[i] ^ known[i]
        call.is_authorized = difference == 0
    if not call.is_authorized:
        try:
            call.authorization = <bytes>value[:nbytes]
        except Exception as error:
            call.error = error              # headers_complete refuses the call


cdef void keep_metadata(Http2Call call, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept:
    if call.error is not None:
        return
    try:
        call.hold(ENTRY_NBYTES + name_nbytes + value_nbytes)
        if call.metadata_items is None:
            call.metadata_items = []
        call.metadata_items.append((<bytes>name[:name_nbytes], <bytes>value[:value_nbytes]))
    except Exception as error:
        call.error = error              # headers_complete refuses the call


cdef void find_method(Endpoint endpoint, Http2Call call, bytes path) noexcept:
    call.method_row = endpoint.methods.get(path)
    if call.method_row is not None:
        call.method = path.decode("ascii")
        call.kind = KINDS[call.method_row.kind]
    else:
        call.method = path[:MAX_PATH_NBYTES].decode("ascii", "replace")


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
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST and self.opening is not None:
            call, self.opening = self.opening, None
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
    if stream != NULL:
        nghttp2_session_set_stream_user_data(session, stream_id, NULL)
        self.unlink(<Http2Call>stream)
    return 0


cdef nghttp2_session_callbacks *callbacks = NULL
cdef nghttp2_option *options = NULL

cdef int set_up() except -1:
    """Callbacks and options are the same for every session; they live as long as the process."""
    global callbacks, options
    if nghttp2_session_callbacks_new(&callbacks) != 0 or nghttp2_option_new(&options) != 0:
        raise MemoryError()
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_option_set_max_outbound_ack(options, MAX_OUTBOUND_ACKS)
    nghttp2_option_set_max_settings(options, MAX_SETTINGS)
    nghttp2_option_set_stream_reset_rate_limit(options, RESET_BURST, RESET_RATE)
    nghttp2_option_set_max_continuations(options, MAX_CONTINUATIONS)
    return 0

set_up()
