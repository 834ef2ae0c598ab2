# http2_limits: how much a client may make the server read, hold or do, where no setting says it. Each stands in the table of
# docs/operations.md, "Limits", or guards one that does. Constants only.

cdef enum:
    TURN_NS = 200_000                   # what a connection sends is worked on for so long, then it is the others' turn
    MAX_FRAME_NBYTES = 1 << 20          # largest frame that a client may send
    MAX_OUTBOUND_ACKS = 1000            # answers to PING and SETTINGS that may wait for a client that does not read,
    MAX_STREAM_FRAMES = 4               # and other frames for each stream that it may have open: refusals beyond it count, too
    UNASKED_NBYTES = 1 << 10            # of a frame that asks for nothing count as one more
    MAX_SETTINGS = 32                   # entries of one SETTINGS frame
    MAX_CONTINUATIONS = 8               # CONTINUATION frames of one header block
    RESET_BURST = 100_000               # streams that a client may reset at once: a second's worth of 1024 whose deadline is 10 ms,
    RESET_RATE = 20_000                 # and how many more a second
    ANSWERED_HEADERS = 4                # so many times max_header_nbytes, and LEAST_ANSWERED_NBYTES in any case, are read to refuse
    LEAST_ANSWERED_NBYTES = 64 << 10    # them with a word; more are not read
    MAX_PATH_NBYTES = 256               # kept of an unknown method's path, for the words of its refusal
    MAX_METADATA = 128                  # metadata entries of one call
    LEAST_RATE = 1024                   # bytes a second that must move, on average over stall_timeout_s, where memory is held
    MAX_ENDED = 64                      # stalled calls that one look at a connection ends; the others' turn comes with the next
