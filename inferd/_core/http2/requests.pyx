# cython: language_level=3
# requests: the bytes of a stream's messages become its requests (see requests.pxd).

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

from inferd._core.grpc.message cimport SMALL_NBYTES, Message, append_bytes, awaited_message, count_copied
from inferd._core.http2.limits cimport WINDOW_STEP_NBYTES, STREAMED_COST
from inferd._core.http2.stream cimport INFER_STREAM, REST, SERVER_STREAM, STREAM, Http2Call, is_task_stream
from inferd._core.http2.streamed cimport Streamed
from inferd._core.net.stream_socket cimport StreamSocket

from inferd.errors import ResourceExhausted, Unimplemented


cdef void message_chunk(Http2Call call, const uint8_t *chunk, Py_ssize_t nbytes) noexcept:
    cdef StreamSocket connection = call.connection
    call.received_nbytes += nbytes
    connection.payload_nbytes += nbytes
    try:
        if call.kind < STREAM:
            while nbytes > 0 and not call.settled:
                if call.prefix_nbytes == 0 and call.received_nbytes > <uint64_t>nbytes:     # a whole message has come before
                    raise Unimplemented(f"{call.method}: expected one request message, got more; the method takes one",
                                        reason="cardinality")
                if call.feed(&chunk, &nbytes, call.max_message_nbytes):
                    call.notify()
        elif call.kind == INFER_STREAM:
            if call.backlog is None:
                take_requests(call, &chunk, &nbytes)
        elif call.kind == REST:
            take_body(call, chunk, nbytes)
            nbytes = 0
        elif call.message is None and not call.settled:
            if call.feed(&chunk, &nbytes, call.max_message_nbytes):
                call.notify()
        if call.kind >= STREAM and nbytes > 0 and not call.settled:
            call.hold(nbytes)
            if call.backlog is None:        # backpressure: these bytes stay unconsumed until the method takes them
                call.backlog = bytearray()
            call.backlog += <bytes>chunk[:nbytes]
    except Exception as error:
        call.reject(error)
    if call.partial is not None and not call.awaits_credit() and (
            connection.missing_nbytes == 0 or call.missing_nbytes < connection.missing_nbytes):
        connection.missing_nbytes = call.missing_nbytes
    if call.partial is not None or (call.kind >= SERVER_STREAM and call.received_nbytes - call.looked_nbytes >= WINDOW_STEP_NBYTES):
        call.open_window()


cdef void request_complete(Http2Call call) noexcept:
    call.half_closed = True
    if call.settled:
        return
    try:
        call.check_ended()
        if is_task_stream(call.kind):
            call.notify()
        elif call.kind == INFER_STREAM:
            call.end_if_over()
        elif call.message is None:
            begin_without_message(call)
        elif call.message.compressed:
            call.begin_compressed(call.max_message_nbytes)
        else:
            call.begin()
    except Exception as error:
        call.reject(error)


# ---- ModelStreamInfer


cdef int open_streamed(Http2Call call, bytes authorization, bint errors_end) except -1:
    call.streamed = Streamed.__new__(Streamed)
    call.streamed.call, call.streamed.session = call, call.http2
    call.streamed.handler, call.streamed.errors_end = call.http2.server.stream_handler, errors_end
    call.streamed.max_message_nbytes = call.max_message_nbytes
    call.streamed.authorization, call.streamed.credentials_epoch = authorization, call.connection.server.credentials_epoch
    return 0


cdef int take_requests(Http2Call call, const uint8_t **chunk, Py_ssize_t *nbytes) except -1:
    cdef Message message
    while (nbytes[0] > 0 and not call.settled and call.connection.begun_requests < call.connection.most_begun_requests
           and call.streamed.takes_more()):
        if call.feed(chunk, nbytes, call.max_message_nbytes):
            message, call.message = call.message, None
            call.connection.begun_requests += 1
            call.connection.cost += STREAMED_COST
            call.streamed.begin(message)
    if nbytes[0] > 0 and not call.settled and call.streamed.takes_more():
        call.streamed.resume_taking()
    return 0


cdef int take_backlog(Http2Call call) except -1:
    cdef bytearray backlog = call.backlog
    cdef const uint8_t *unread = <const uint8_t *>PyByteArray_AS_STRING(backlog)
    cdef Py_ssize_t nbytes = PyByteArray_GET_SIZE(backlog)
    cdef Py_ssize_t taken = nbytes
    take_requests(call, &unread, &nbytes)
    if call.backlog is None or call.connection is None:
        return 0                    # the stream has failed
    taken -= nbytes
    if nbytes == 0:
        call.backlog = None
    else:
        del backlog[:taken]
    call.give_back(taken)
    call.open_window()
    call.connection.mark_dirty()
    call.end_if_over()
    return 0


# ---- the body of a REST call


cdef int take_body(Http2Call call, const uint8_t *chunk, Py_ssize_t nbytes) except -1:
    cdef Py_ssize_t there_nbytes = call.partial.there_nbytes if call.partial is not None else 0
    cdef Py_ssize_t whole_nbytes
    if call.settled:
        return 0
    whole_nbytes = max(<Py_ssize_t>call.head.content_nbytes, there_nbytes + nbytes)
    if whole_nbytes > call.max_message_nbytes:
        raise body_too_large(call, whole_nbytes)
    if call.partial is None:
        call.partial = awaited_message(whole_nbytes)
        call.partial.compressed = call.encoding is not None
        call.partial.share = call.share
        if whole_nbytes > SMALL_NBYTES:
            call.ask_for_place(call.partial)
    elif whole_nbytes > SMALL_NBYTES and call.partial.place_nbytes == 0:
        call.ask_for_place(call.partial)            # nobody said that it would become large
    append_bytes(call.partial, <const char *>chunk, nbytes)
    count_copied(nbytes)
    call.missing_nbytes = call.partial.nbytes - call.partial.there_nbytes
    return 0


cdef body_too_large(Http2Call call, Py_ssize_t nbytes):
    return ResourceExhausted(
        f"request body: expected at most {call.max_message_nbytes} bytes (max_message_bytes), got {nbytes}; split the request into "
        "smaller ones, or have the server's limit raised", reason="message_size")


cdef int begin_without_message(Http2Call call) except -1:
    if call.kind != REST:
        raise Unimplemented(f"{call.method}: expected one request message, got none", reason="cardinality")
    call.message = Message.wrap(b"")
    return call.begin()
