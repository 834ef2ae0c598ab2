# call: what gRPC adds to HTTP/2: length-prefixed messages, grpc-timeout, statuses; and Call, one RPC of one client.
# Never in here: frames and streams (http2), the messages' meaning (codec), sockets.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.message cimport PREFIX_NBYTES, Message, Share

@cython.no_gc                   # repeated in the .pyx; a subclass in another module sees only the .pxd
cdef class Call:                # one RPC. A transport makes it; it gets exactly one response
    cdef readonly str method    # "/inference.GRPCInferenceService/ModelInfer"
    cdef readonly Message message       # the newest complete request message; the only one of a unary call
    cdef readonly int64_t deadline_ns   # monotonic; NO_DEADLINE: none
    cdef readonly bint settled  # it has its response, or the client went away: a late response is dropped
    cdef readonly uint32_t connection_id    # the connection's number; 0: it counts for none, and waits in order of arrival
    cdef public uint64_t key    # of the header or parameter inferd-key, which canaries route by (base/key); 0: there is none, or no canary
    cdef Share share            # the connection's, which its messages are charged to, or None
    cdef public object work     # whatever works for this call: a Request, a task, an unpacking. A client that leaves cancels it
    cdef public bytes traceparent       # as the client sent it, for the log alone (inferd.log.trace_id), or None
    cdef object counted         # counts this call while it lives, in builds that count calls; else None
    cdef str encoding           # how its compressed messages are encoded: "gzip", "deflate"; None: it may have none
    # The parser of length-prefixed messages.
    cdef uint8_t prefix[PREFIX_NBYTES]
    cdef int prefix_nbytes      # bytes of the prefix that have come
    cdef Py_ssize_t missing_nbytes      # bytes of `partial` that have not come
    cdef Message partial        # the message being filled, or None
    # Responds to a unary call with a message (Message or bytes) and OK. On the loop's thread.
    cpdef reply(self, message)
    # Responds with the status of a RequestError. On the loop's thread.
    cpdef fail(self, error)
    # Calls work.run() on a thread, then work.done() on the loop's; a transport without threads does both at once.
    cpdef run_on_thread(self, work)
    # Ends the call without a response: the client went away. Cancels its work.
    cdef void abandon(self) noexcept
    # A message, `partial`, is large and begins to come: asks for its place in receive admission. Raises ResourceExhausted.
    cdef int ask_for_place(self, Message message) except -1
    # It has its place: its client may send all of it. error: there is no room for it; else None.
    cdef void credited(self, error) noexcept
    # Takes bytes of the stream until one message is complete (True; it is in `message`) or no bytes are left (False).
    # Moves data and nbytes on. Raises RequestError; the caller must then fail the call, and feed it no more.
    cdef bint feed(self, const uint8_t **data, Py_ssize_t *nbytes, Py_ssize_t max_message_nbytes) except -1

cdef class InferHandler:        # serves ModelInfer
    # Begins to serve a call whose request message is whole; the response goes to the call, now or later. Raises the call's rejection.
    cdef int infer(self, Call call) except -1

cdef class StreamHandler(InferHandler):     # serves ModelStreamInfer: each message of the stream is a call of its own, for `infer`
    # The stream's message that holds a response. It takes the place of `response`, which lies in a block of the pool.
    cpdef Message wrap(self, Message response)
    # The stream's message that says why a request was rejected.
    cpdef Message rejection(self, Message request, error)

# `handler` itself if it is one, else a handler that calls it with the call.
cdef InferHandler infer_handler(handler)

# grpc-timeout's value in nanoseconds, or -1 when it is malformed.
cdef int64_t timeout_ns(const uint8_t *value, Py_ssize_t nbytes) noexcept nogil

# grpc-message's percent encoding of a status message, cut at MAX_STATUS_NBYTES.
cpdef bytes percent_encode(str text)

# google.rpc.Status with a RetryInfo, for grpc-status-details-bin, in base64 without padding; b"" when there is nothing to tell.
cpdef bytes status_details(error)
