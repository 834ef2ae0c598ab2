# limits: how much a client may make the server read, hold or do, where no setting says it. Each stands in the table of
# docs/operations.md, "Limits", or guards one that does. Constants only.

cdef enum:
    BUDGET_NS = 1_000_000               # of an iteration of the loop, for the turns of all connections
    READ_NBYTES = 16 << 10              # read of a connection in a turn, unless most of it is a large message,
    TLS_READ_NBYTES = 4 << 10           # or of one that speaks TLS, whose records can be dear: a KeyUpdate has 22 bytes,
    QUANTUM = 16 << 10                  # and as many may be read of it until it is behind the others: turns cost the bytes that they read,
    PAYLOAD_SHARE = 16                  # those of a large message, which are only copied, a 16th
    FLUSH_FRAMES = 256                  # written of a connection in a turn, which costs a quantum where more are left
    MAX_UNSENT_NBYTES = 512 << 10       # that wait for a socket: a write of output, and what TLS answers to a client that reads nothing
    MAX_FRAME_NBYTES = 1 << 20          # largest frame that a client may send
    MAX_STREAM_FRAMES = 4               # frames that wait for a client that does not read, for each stream it may have open; rejections too
    PREFACE_NBYTES = 24                 # with which a client begins: "PRI * HTTP/2.0" and so on
    UNASKED_NBYTES = 1 << 10            # of a frame that asks for nothing count as one more
    MAX_SETTINGS = 32                   # entries of one SETTINGS frame
    ANSWERED_HEADERS = 4                # so many times max_header_nbytes, and LEAST_ANSWERED_NBYTES in any case, are read to reject
    LEAST_ANSWERED_NBYTES = 64 << 10    # them with a word; more are not read
    MAX_PATH_NBYTES = 256               # kept of an unknown method's path, for the words of its rejection
    MAX_METADATA = 128                  # metadata entries of one call
    OWN_CALLS = 16                      # that a connection may always have open; of more no more than all connections may still open
    STREAM_NBYTES = 4 << 10             # what a streaming call takes beside its messages, which count with it: a task and its generators
    MAX_ENDED = 64                      # calls, stalled or late, that one look at a connection ends; its next one is behind the others
