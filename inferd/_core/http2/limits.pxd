# limits: how much a client of HTTP/2 may make the server read, hold or do, where no setting says it. net/limits has those of all
# connections. docs/operations.md, "What you may want to tune", has those that matter to an operator. Constants only.

cdef enum:
    # A turn writes this many frames of a connection at most. A turn that goes on with such output costs READ_NBYTES more.
    FLUSH_FRAMES = 256
    # The largest frame that a client may send.
    MAX_FRAME_NBYTES = 1 << 20
    # For each stream that a client may have open, this many frames may wait for it to read.
    MAX_STREAM_FRAMES = 4
    # The length of the client's preface: "PRI * HTTP/2.0" and so on.
    PREFACE_NBYTES = 24
    # A control frame counts as one more for each 1 KiB of it.
    CONTROL_NBYTES = 1 << 10
    # The most entries of one SETTINGS frame.
    MAX_SETTINGS = 32
    # To reject too long headers with a status, the server reads this many times max_header_nbytes, and at least LEAST_REJECTED_NBYTES.
    # It resets the stream of a client that sends more.
    REJECTED_HEADERS = 4
    LEAST_REJECTED_NBYTES = 64 << 10
    # A stream of messages may have sent so much, as much as the narrowest window, before its window is looked at again.
    WINDOW_STEP_NBYTES = 16 << 10
    # A connection may always have this many calls open. Beyond them it may have as many as max_calls leaves free.
    OWN_CALLS = 16
    # A request in flight on a stream of ModelStreamInfer is charged for this much memory beside its message.
    STREAMED_REQUEST_NBYTES = 1 << 10
    # A stream of ModelStreamInfer is not read while its requests in flight hold this much, or are max_stream_requests.
    STREAMED_NBYTES = 16 << 20
    # A request of such a stream counts as so many bytes of frames: a unary one has headers, too.
    STREAMED_COST = 32
