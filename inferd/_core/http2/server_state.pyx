# cython: language_level=3
# server_state: what all connections of a server share, and the way out of one (see server_state.pxd).

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.grpc.compression cimport Conversion
from inferd._core.http2.flood_policy cimport CONTROL_BURST_S, RESET_BURST_S
from inferd._core.grpc.call cimport Call, infer_handler
from inferd._core.http2.low_water cimport Gathering
from inferd._core.http2.limits cimport FLUSH_FRAMES, FLUSH_ITERATION_NS, FLUSH_NS, ITERATION_NS, LIGHT_ITERATION_NS, LIGHT_NS
from inferd._core.http2.limits cimport MAX_HELD_NBYTES, MAX_SETTINGS, MAX_STREAM_FRAMES, TURN_NS
from inferd._core.http2.nghttp2 cimport *

from collections import OrderedDict

from inferd.errors import ResourceExhausted

cdef enum:
    FIRST_EXTENSION = 10                # of the types of frames that RFC 9113 leaves to extensions


cdef class Endpoint:
    """What all connections of one server share: the service table, limits, buffers and counters.

    methods: the service table, "/package.Service/Method" -> Method. start(call, method): begins a unary call whose message
    is there, or a streaming call whose headers are there. unserved(path): the rejection of an unknown method. reject(call, error):
    answers any exception that a method raised.
    guard(call, authorization): raises a RequestError for a call that may not be made with that `authorization` header (bytes, None
    where there is none, b", " where there are several). True: the header is good for all calls of its connection, until guard_changed().
    in_thread(output, work): calls work.run() on another thread and work.done() on the loop's after it, for what it would take the loop
    too long to compress, decompress or unpack. compression: of responses, for clients that take it: "none", "gzip", "deflate".
    schedule(callback): runs callback at the end of the loop's present iteration; call_later(seconds, callback): then. Limits are
    in bytes, or counts.
    """

    def __cinit__(self):
        self.receive_buffer = <uint8_t *>malloc(RECEIVE_NBYTES)
        self.send_buffer = <uint8_t *>malloc(SEND_NBYTES)
        if self.receive_buffer == NULL or self.send_buffer == NULL or nghttp2_option_new(&self.options) != 0:
            raise MemoryError()

    def __init__(self, methods, *, start, reject, unserved, schedule, call_later, in_thread, guard=None, str compression="none",
                 Py_ssize_t max_message_nbytes=64 << 20, Py_ssize_t max_header_nbytes=16 << 10,
                 Py_ssize_t max_unread_nbytes=64 << 20, uint32_t max_streams=1024, uint32_t stream_window_nbytes=1 << 20,
                 uint32_t connection_window_nbytes=4 << 20, int64_t max_control_frame_rate=1000, int64_t min_ping_interval_ns=0,
                 int64_t keepalive_ns=0, int64_t keepalive_timeout_ns=20 * 10**9, int64_t max_idle_ns=0, int64_t age_grace_ns=0,
                 int memory_percent=100, bint fair=True, int64_t max_calls=100_000, int64_t max_reset_rate=20_000,
                 size_t max_continuations=8, int64_t min_rate=1 << 10, int64_t min_message_rate=256 << 10):
        cdef int kind
        self.methods = {path.encode(): row for path, row in methods.items()}
        self.infer_path = b""
        for path, row in methods.items():
            if row.kind == "infer":
                self.infer_path, self.infer_method, self.infer_row = path.encode(), path, row
                self.infer_handler = infer_handler(row.handler)
        self.start, self.reject, self.unserved, self.schedule = start, reject, unserved, schedule
        self.guard = guard
        self.in_thread = in_thread
        if compression != "none":
            self.compression, self.encoding = compression, compression.encode()
        self.dirty = []
        self.gathering = Gathering(call_later, min(stream_window_nbytes, connection_window_nbytes))
        self.max_message_nbytes = max_message_nbytes
        self.max_header_nbytes = max_header_nbytes
        self.max_unread_nbytes = max_unread_nbytes
        self.max_streams = max_streams
        self.max_outbound_frames = max_control_frame_rate + MAX_STREAM_FRAMES * <size_t>max_streams
        self.max_calls, self.min_rate, self.min_message_rate = max_calls, min_rate, min_message_rate
        self.stream_window_nbytes = stream_window_nbytes
        self.connection_window_nbytes = connection_window_nbytes
        self.turn_ns, self.iteration_ns, self.light_iteration_ns, self.light_ns = TURN_NS, ITERATION_NS, LIGHT_ITERATION_NS, LIGHT_NS
        self.held_light, self.held, self.unsent = OrderedDict(), OrderedDict(), OrderedDict()
        self.flush_ns, self.flush_iteration_ns = FLUSH_NS, FLUSH_ITERATION_NS
        self.max_held_nbytes = MAX_HELD_NBYTES
        self.inline_nbytes = INLINE_NBYTES
        self.rules.control_step_ns = 1_000_000_000 // max_control_frame_rate
        self.rules.control_burst = CONTROL_BURST_S * max_control_frame_rate
        self.memory_percent, self.fair = memory_percent, fair
        self.set_terms(min_ping_interval_ns, keepalive_ns, keepalive_timeout_ns, max_idle_ns, age_grace_ns)
        self.rules.reset_step_ns = 1_000_000_000 // max_reset_rate
        self.rules.reset_burst = RESET_BURST_S * max_reset_rate
        for kind in range(FIRST_EXTENSION, 256):
            nghttp2_option_set_user_recv_extension_type(self.options, kind)
        nghttp2_option_set_no_auto_window_update(self.options, 1)
        nghttp2_option_set_no_closed_streams(self.options, 1)
        nghttp2_option_set_max_outbound_ack(self.options, max_control_frame_rate)
        nghttp2_option_set_max_settings(self.options, MAX_SETTINGS)
        nghttp2_option_set_max_continuations(self.options, max_continuations)
        nghttp2_option_set_stream_reset_rate_limit(self.options, INT64_MAX, INT64_MAX)      # conduct counts them, ours with them

    def __dealloc__(self):
        free(self.receive_buffer)
        free(self.send_buffer)
        if self.options != NULL:
            nghttp2_option_del(self.options)

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
        """Writes what waits to be sent, one write a connection: for who has delivered answers. As long as an iteration's time lasts."""
        self.flush_dirty(monotonic_ns() + self.flush_iteration_ns)

    def next_flush(self):
        """The same at the end of an iteration of the loop. A few bytes can open the windows of a thousand answers: who has more than a
        turn's worth has the time that the others leave, one turn at least."""
        cdef int64_t until_ns = monotonic_ns() + self.flush_iteration_ns
        self.flush_scheduled = False
        self.inline_nbytes = INLINE_NBYTES
        self.flush_dirty(until_ns)
        while self.unsent:
            output, _ = self.unsent.popitem(last=False)
            self.flush_one(<Output>output)
            if monotonic_ns() >= until_ns:
                break
        if self.dirty or self.unsent:
            self.schedule_flush()

    cdef int flush_dirty(self, int64_t until_ns) except -1:
        cdef list outputs = self.dirty
        cdef Py_ssize_t i, count = len(outputs)
        self.dirty = []
        for i in range(count):
            self.flush_one(<Output>outputs[i])
            if i + 1 < count and monotonic_ns() >= until_ns:
                self.dirty = outputs[i + 1:] + self.dirty
                self.schedule_flush()
                break
        return 0

    cdef void schedule_flush(self) noexcept:
        """Once: it goes on by itself as long as something waits."""
        if not self.flush_scheduled:
            self.flush_scheduled = True
            try:
                self.schedule(self.next_flush)
            except Exception as error:
                self.log(error)

    cdef int flush_one(self, Output output) except -1:
        output.dirty = False
        try:
            output.flush()
        except Exception:               # its transport is gone and has not said so yet: connection_lost follows
            output.end()
        return 0

    cdef bint convert(self, Output output, Conversion conversion) noexcept:
        cdef bint over
        if conversion.inline_nbytes > 0 and self.inline_nbytes > 0:
            over = conversion.attempt(conversion.inline_nbytes)
            self.inline_nbytes -= conversion.weight * conversion.moved_nbytes
            if over:
                return True
            conversion.restart()
        try:
            self.in_thread(output, conversion)
            return False
        except Exception as error:
            conversion.fail(error)
            return True

    cdef int line_up(self, Output session, bint light) except -1:
        if light:
            self.held_light[session] = None
        else:
            self.held[session] = None
        if not self.turns_scheduled:
            self.schedule(self.next_turn)
            self.turns_scheduled = True
        return 0

    cdef void forget(self, Output session) noexcept:
        """Else a session that is closed would live until the loop comes to its write, or its turn."""
        self.unsent.pop(session, None)
        if session.dirty and session in self.dirty:
            self.dirty.remove(session)
        session.dirty = False
        self.held_light.pop(session, None)
        self.held.pop(session, None)

    def next_turn(self):
        """Of some that wait for theirs: all in one iteration of the loop would hold up everybody else. What they take is no time of those
        that come anew in it, who would have turn after turn before them. Those with little to do go first, in the time of light reads,
        and so do those that seldom wait: who is late by chance, beside thousands that have more to say each time, is behind none."""
        cdef int64_t begun_ns = monotonic_ns(), light_ns
        try:
            self.serve_line(self.held_light, begun_ns + self.light_iteration_ns)
            light_ns = monotonic_ns()
            self.serve_line(self.held, light_ns + self.iteration_ns)
            self.light_line_ns, self.line_ns = light_ns - begun_ns, monotonic_ns() - light_ns
        finally:
            self.turns_scheduled = bool(self.held_light or self.held)
            if not self.turns_scheduled:
                self.line_ns = self.light_line_ns = 0   # of no iteration that comes later
            else:
                self.schedule(self.next_turn)

    cdef int serve_line(self, line, int64_t until_ns) except -1:
        """One of them at least."""
        cdef Py_ssize_t left = len(line)                # whose turn is over again is not among them
        while left > 0 and line:                        # some may have closed meanwhile
            left -= 1
            session, _ = line.popitem(last=False)
            session.take_rest()
            if monotonic_ns() >= until_ns:
                break
        return 0

    cdef void begin_iteration(self, int64_t now_ns) noexcept:
        self.iteration_begun = True
        self.iteration_until_ns = now_ns + max(self.iteration_ns - self.line_ns, <int64_t>0)
        self.light_until_ns = self.iteration_until_ns + max(self.light_iteration_ns - self.light_line_ns, <int64_t>0)
        self.line_ns = self.light_line_ns = 0

    cdef bint has_time(self, int64_t now_ns, bint light) noexcept:
        if not self.iteration_begun:
            if light:                   # not worth a callback
                return True
            try:
                self.schedule(self.end_iteration)
            except Exception as error:
                self.log(error)
                return True
            self.begin_iteration(now_ns)
        return now_ns < (self.light_until_ns if light else self.iteration_until_ns)

    def end_iteration(self):
        """What is read from now on belongs to the loop's next iteration."""
        self.iteration_begun = False

    def set_terms(self, int64_t min_ping_interval_ns, int64_t keepalive_ns, int64_t keepalive_timeout_ns, int64_t max_idle_ns,
                  int64_t age_grace_ns):
        """How long connections last, and how often clients may ask whether they do: of all that are open, too, from now on."""
        self.rules.min_ping_interval_ns = min_ping_interval_ns
        self.terms.keepalive_ns, self.terms.keepalive_timeout_ns = keepalive_ns, keepalive_timeout_ns
        self.terms.max_idle_ns, self.terms.grace_ns = max_idle_ns, age_grace_ns

    def guard_changed(self):
        """What the guard let through so far, it is asked for again."""
        self.guard_epoch += 1

    cdef void log(self, error) noexcept:
        try:
            import logging
            logging.getLogger("inferd.http2").error("a call failed in an unexpected way", exc_info=error)
        except Exception:
            pass                        # logging itself failed: nothing is left to say it with


cdef class Output:
    """What one connection's client gets. Made by a Session, which is one.

    write(bytes): hands bytes to the transport. close_transport(): ends the connection after what was written.
    """

    cdef void mark_dirty(self) noexcept:
        cdef Endpoint endpoint = self.endpoint
        if self.dirty or self.receiving or self.ended or self.closed:
            return                      # after receiving, Session.take looks whether there is output
        self.dirty = True
        endpoint.dirty.append(self)
        endpoint.schedule_flush()

    cpdef flush(self):
        """Writes the output that the transport takes now, as far as a turn lasts; ends the connection when HTTP/2 is done with it."""
        cdef const uint8_t *piece
        cdef nghttp2_ssize nbytes
        cdef Py_ssize_t filled = 0, frames = 0
        cdef int64_t now_ns, until_ns = 0
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
            # nghttp2 gives a frame at a time: its type stands in byte 3, the error code of GOAWAY in bytes 13 to 16. PINGs are good again
            # after each frame of a call, as in grpc-core, whose clients probe the bandwidth by PINGs while they read a response.
            if piece[3] == NGHTTP2_DATA or piece[3] == NGHTTP2_HEADERS or piece[3] == NGHTTP2_WINDOW_UPDATE:
                self.conduct.ping_until_ns = 0
            elif piece[3] == NGHTTP2_GOAWAY and piece[13] | piece[14] | piece[15] | piece[16] != 0:
                self.count_error()
            if filled + nbytes > self.write_nbytes:
                self.put(buffer, filled)
                filled = 0
            if nbytes > SEND_NBYTES:
                self.put(piece, nbytes)
            else:
                memcpy(buffer + filled, piece, nbytes)
                filled += nbytes
            frames += 1
            if frames % FLUSH_FRAMES == 0 and not self.leaving:
                now_ns = monotonic_ns()
                if until_ns == 0:
                    until_ns = now_ns + self.endpoint.flush_ns
                elif now_ns >= until_ns:
                    self.dirty = True
                    self.endpoint.unsent[self] = None
                    self.endpoint.schedule_flush()
                    break
        if filled > 0:
            self.put(buffer, filled)
        if not nghttp2_session_want_read(self.session) and not nghttp2_session_want_write(self.session):
            self.end()

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

    cdef void reject(self, Call call, int32_t stream_id, error) noexcept:
        request, call.request = call.request, None
        try:
            self.endpoint.reject(call, error)
        except Exception as unexpected:
            self.endpoint.log(unexpected)
            nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_INTERNAL_ERROR)
        if request is not None:
            try:
                request.cancel()
            except Exception as unexpected:
                self.endpoint.log(unexpected)

    cdef void stop_upload(self, int32_t stream_id) noexcept:
        if self.uploads is None:
            self.uploads = []
        self.uploads.append(stream_id)

    cdef void stop_uploads(self) noexcept:
        cdef int32_t stream_id
        cdef list uploads = self.uploads
        self.uploads = None
        for stream_id in uploads:
            if nghttp2_session_get_stream_remote_close(self.session, stream_id) == 0:       # it is there, and the client still sends
                nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_NO_ERROR)

    cdef void count_error(self) noexcept:
        if not self.judged:
            self.judged = True
            self.endpoint.protocol_errors_total += 1

    cdef void end(self) noexcept:
        if not self.ended and not self.closed:
            self.ended = True
            try:
                self.close_transport()
            except Exception as error:
                self.endpoint.log(error)

    cdef bint has_room(self, Py_ssize_t nbytes) noexcept:
        cdef Py_ssize_t waiting_nbytes = self.unread_nbytes + self.compressing_nbytes
        return waiting_nbytes == 0 or waiting_nbytes + nbytes <= self.endpoint.max_unread_nbytes

    cdef unread_error(self, Py_ssize_t nbytes):
        cdef Py_ssize_t waiting_nbytes = self.unread_nbytes + self.compressing_nbytes
        return ResourceExhausted(
            f"this connection has {waiting_nbytes} bytes of answers that were not read, and no room for {nbytes} more under "
            f"its limit of {self.endpoint.max_unread_nbytes} (max_unread_bytes); read answers before you send more requests",
            reason="unread", retry_after_ns=100_000_000)
