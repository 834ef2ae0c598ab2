# cython: language_level=3
# call_stalls: calls that wait too long for their client (see call_stalls.pxd).

from cpython.bytearray cimport PyByteArray_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from inferd._core.grpc.message cimport SMALL_NBYTES
from inferd._core.http2.nghttp2 cimport *
from inferd._core.http2.stream cimport COMING, INFER_STREAM, Http2Call, is_task_stream
from inferd._core.net.server_state cimport Limits
from inferd._core.net.stall_policy cimport CALL_RESPONSE, CONNECTION_RESPONSES, NOTHING, REQUEST, Owed, is_stalled

from inferd.errors import DeadlineExceeded, Unavailable


cdef Found find_late(Http2Call call, list late, int64_t now_ns, int64_t request_limit_ns, int64_t response_limit_ns) noexcept:
    cdef Found found = NO_MORE
    cdef Owed step
    cdef bint is_late, is_large
    cdef const Limits *limits
    while call is not None:
        limits = &call.connection.server.limits
        step = owed(call)
        is_large = owed_nbytes(call) > SMALL_NBYTES
        if step == CONNECTION_RESPONSES:        # the connection stalls, not this call
            found, step = SHARED_WINDOW, NOTHING
        is_late = now_ns >= call.deadline_ns and not is_task_stream(call.kind) and call.state != COMING and (
            step == REQUEST or call.incoming is not None or call.awaits_credit() or (call.kind == INFER_STREAM and not call.settled))
        if is_stalled(&call.stall, step, call.sent_nbytes if step == CALL_RESPONSE else consumed_nbytes(call), now_ns,
                      response_limit_ns if step == CALL_RESPONSE else request_limit_ns,
                      limits.min_message_rate if is_large and step == REQUEST else limits.min_rate) or is_late:
            if call.state == COMING:
                return WITHIN_HEADERS
            late.append(call)
        call = call.next
    return found


cdef Owed owed(Http2Call call) noexcept:
    """The step that the client owes before this call goes on, if the call holds memory meanwhile. The client of a streaming call owes
    no message, except in a drain, and except the first one of a method other than ModelStreamInfer."""
    if call.untaken_nbytes > 0:
        if nghttp2_session_get_stream_remote_window_size(call.http2.session, call.stream_id) <= 0:
            return CALL_RESPONSE
        return CONNECTION_RESPONSES
    if call.awaits_credit():
        return NOTHING
    if call.settled:
        return NOTHING              # its end leaves with the next write; if that does not, the connection owes OUTPUT
    if call.incoming is not None:
        return NOTHING              # the call waits for a thread
    if call.kind == INFER_STREAM:
        if call.streamed is None:
            return REQUEST          # the rest of its headers
        if call.streamed.first is not None:
            return NOTHING
        # Between two requests the client owes nothing. In a drain, the stream takes no more.
        return REQUEST if call.partial is not None or call.prefix_nbytes > 0 or call.connection.server.stopping else NOTHING
    if is_task_stream(call.kind):
        # Messages that the method does not take count, too: it takes those that it wants as they come.
        if call.message is not None or call.backlog is not None or call.partial is not None or call.prefix_nbytes > 0:
            return REQUEST
        if call.received_nbytes == 0 and not call.half_closed:
            return REQUEST          # a client that opens a stream must send a message
        return REQUEST if call.connection.server.stopping and not call.half_closed else NOTHING
    return NOTHING if call.half_closed else REQUEST


cdef Py_ssize_t owed_nbytes(Http2Call call) noexcept:
    """The size of the request's message that comes, or has come while the client may still send. More than SMALL_NBYTES must come at
    min_message_rate. Responses always have min_rate."""
    if call.partial is not None:
        return call.partial.nbytes
    return call.message.nbytes if call.message is not None else 0


cdef uint64_t consumed_nbytes(Http2Call call) noexcept:
    """Bytes of the request that the client has sent and that do not wait in the backlog."""
    return call.received_nbytes - (PyByteArray_GET_SIZE(call.backlog) if call.backlog is not None else 0)


cdef void end_stalled(Http2Call call, Owed step, int64_t limit_ns, int64_t now_ns) noexcept:
    """The client has owed this for too long, or its deadline has passed. Rejects the call with a status; if its client does
    not read the response, resets the stream. The call holds nothing more."""
    if step == REQUEST or call.incoming is not None or call.awaits_credit() or (call.kind == INFER_STREAM and step == NOTHING):
        call.reject(stall_error(call, limit_ns, now_ns))
    else:
        call.abandon()
        call.drop_request()
        call.drop_response()
        if call.streamed is not None:
            call.streamed.drop()
        nghttp2_submit_rst_stream(call.http2.session, NGHTTP2_FLAG_NONE, call.stream_id, NGHTTP2_CANCEL)
        call.connection.mark_dirty()


cdef stall_error(Http2Call call, int64_t limit_ns, int64_t now_ns):
    cdef Limits limits
    cdef int64_t rate
    if call.connection.server.stopping:
        return Unavailable("the server is stopping, and the rest of the request did not come; send it to another replica",
                           reason="stalled")
    if now_ns >= call.deadline_ns:
        unfinished = "stream ended" if call.kind == INFER_STREAM else "request was whole"
        return DeadlineExceeded(f"{call.method}: the deadline passed before the {unfinished}", reason="deadline")
    if is_task_stream(call.kind) and (call.message is not None or call.backlog is not None):
        return DeadlineExceeded(f"{call.method}: messages came that were not asked for, and nobody took them for {limit_ns / 1e9:g} s "
                                f"(stall_timeout_s)", reason="stalled")
    limits = call.connection.server.limits
    rate = limits.min_message_rate if owed_nbytes(call) > SMALL_NBYTES else limits.min_rate
    return DeadlineExceeded(
        f"{call.method}: expected the whole request, or {rate} bytes of it a second, got less for {limit_ns / 1e9:g} s "
        f"(stall_timeout_s)", reason="stalled")
