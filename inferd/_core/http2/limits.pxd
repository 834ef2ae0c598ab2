# limits: how much a client may make the server read, hold or do, where no setting says it. Each stands in the table of
# docs/operations.md, "Limits". Constants only.

cdef enum:
    # The turns of all connections take so long together in an iteration of the event loop.
    BUDGET_NS = 1_000_000
    # A turn reads so much of a connection: frames of a few bytes can cost milliseconds. It reads 64 KiB where the rest of a message
    # is larger than this.
    READ_NBYTES = 4 << 10
    # A turn costs the bytes that it reads. A connection goes behind the others when its turns have cost so much: more than a small
    # request, less than a burst of them.
    QUANTUM = 512
    # Bytes of a large message are only copied: they cost a 16th.
    PAYLOAD_SHARE = 16
    # A turn writes so many frames of a connection at most. It costs a read where more are left.
    FLUSH_FRAMES = 256
    # So much is written of all connections in one go. The others write in turns.
    FLUSH_NBYTES = 1 << 20
    # So much output may wait for a socket: one write, and what TLS answers to a client that reads nothing.
    MAX_UNSENT_NBYTES = 512 << 10
    # The largest frame that a client may send.
    MAX_FRAME_NBYTES = 1 << 20
    # So many frames may wait for a client that does not read, for each stream that it may have open.
    MAX_STREAM_FRAMES = 4
    # A client begins with so many bytes: "PRI * HTTP/2.0" and so on.
    PREFACE_NBYTES = 24
    # A frame that asks for nothing counts once more for each so many bytes.
    UNASKED_NBYTES = 1 << 10
    # Entries of one SETTINGS frame.
    MAX_SETTINGS = 32
    # The server reads so many times max_header_nbytes, or at least LEAST_ANSWERED_NBYTES, to reject headers with a status.
    ANSWERED_HEADERS = 4
    LEAST_ANSWERED_NBYTES = 64 << 10
    # So much of an unknown method's path is kept, for the words of its rejection.
    MAX_PATH_NBYTES = 256
    # A connection may always have so many calls open. Beyond them it may have as many as max_calls leaves free.
    OWN_CALLS = 16
    # A call that runs as a task, as all do but ModelInfer's, holds so much beside its messages. It counts with them.
    TASK_NBYTES = 4 << 10
