# cython: language_level=3
# send_state: HTTP/2 as its calls know it (see send_state.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy

from inferd._core.http2.limits cimport FLUSH_FRAMES
from inferd._core.http2.nghttp2 cimport *
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.server_state cimport SEND_NBYTES
from inferd._core.net.stream_socket cimport CLOSING, StreamSocket

from inferd.errors import ResourceExhausted

cdef inline bint is_error(const uint8_t *goaway) noexcept:
    """Whether this GOAWAY ends the connection for an error."""
    return goaway[13] | goaway[14] | goaway[15] | goaway[16] != 0


cdef class SendState(Protocol):
    """The way out."""

    cdef int write_output(self) except -1:
        """A turn's worth of frames at most. When HTTP/2 is over, it ends the connection."""
        cdef StreamSocket connection = self.connection
        cdef const uint8_t *piece
        cdef nghttp2_ssize nbytes
        cdef Py_ssize_t filled = 0, frames = 0, put_nbytes = 0
        cdef uint8_t *buffer = self.server.send_buffer
        if connection is None:
            return 0
        connection.unfinished = False
        if connection.state >= CLOSING:
            return 0
        while connection.unsent is None:
            if frames >= FLUSH_FRAMES or put_nbytes >= SEND_NBYTES:
                connection.unfinished = True
                break
            nbytes = nghttp2_session_mem_send2(self.session, &piece)
            if nbytes <= 0:
                if nbytes < 0:
                    connection.finish()
                    return 0
                if self.resets_after_response is None:
                    break
                self.submit_resets()
                continue
            # nghttp2 gives a frame at a time: its type stands in byte 3, the error code of GOAWAY in bytes 13 to 16. Each frame of a call
            # allows PINGs again, as in grpc-core, whose clients probe the bandwidth by PINGs while they read a response.
            if piece[3] == NGHTTP2_DATA or piece[3] == NGHTTP2_HEADERS or piece[3] == NGHTTP2_WINDOW_UPDATE:
                self.flood.ping_until_ns = 0
            elif piece[3] == NGHTTP2_GOAWAY and is_error(piece):
                self.server.totals.protocol_errors += 1
            if filled + nbytes > SEND_NBYTES:
                connection.put(buffer, filled)
                if connection.state >= CLOSING:       # the client is gone, and perhaps the session, which owns `piece`
                    return 0
                put_nbytes += filled
                filled = 0
            if nbytes > SEND_NBYTES:
                connection.put(piece, nbytes)
                if connection.state >= CLOSING:
                    return 0
                put_nbytes += nbytes
            else:
                memcpy(buffer + filled, piece, nbytes)
                filled += nbytes
            frames += 1
        if filled > 0:
            connection.put(buffer, filled)
        if connection.unfinished:
            connection.schedule_flush_turn()
        elif not nghttp2_session_want_read(self.session) and not nghttp2_session_want_write(self.session):
            connection.finish()
        return 0

    cdef void goaway(self, int error, bytes why, bint notice) noexcept:
        if notice:
            nghttp2_submit_shutdown_notice(self.session)
        else:
            nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session), error,
                                  <const uint8_t *>PyBytes_AS_STRING(why), PyBytes_GET_SIZE(why))

    cdef void reset_after_response(self, int32_t stream_id) noexcept:
        if self.resets_after_response is None:
            self.resets_after_response = []
        self.resets_after_response.append(stream_id)

    cdef void submit_resets(self) noexcept:
        cdef int32_t stream_id
        stream_ids, self.resets_after_response = self.resets_after_response, None
        for stream_id in stream_ids:
            if nghttp2_session_get_stream_remote_close(self.session, stream_id) == 0:       # the stream is open, and the client still sends
                nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_NO_ERROR)

    cdef bint has_room(self, Py_ssize_t nbytes) noexcept:
        cdef Py_ssize_t waiting_nbytes = self.unread_nbytes + self.connection.compressing_nbytes
        return waiting_nbytes == 0 or waiting_nbytes + nbytes <= self.server.limits.max_unread_nbytes

    cdef unread_error(self, Py_ssize_t nbytes):
        cdef Py_ssize_t waiting_nbytes = self.unread_nbytes + self.connection.compressing_nbytes
        return ResourceExhausted(
            f"this connection has {waiting_nbytes} bytes of responses that were not read, and no room for {nbytes} more under "
            f"its limit of {self.server.limits.max_unread_nbytes} (max_unread_bytes); read responses before you send more requests",
            reason="unread", retry_after_ns=100_000_000)
