# limits: how much a client may make the server read, hold or do, where no setting says it. Each stands in the table of
# docs/operations.md, "Limits", or guards one that does. Constants only.

cdef enum:
    TURN_NS = 200_000                   # what a connection sends is worked on for so long, then it is the others' turn
    ITERATION_NS = 500_000              # the first turns of all connections in one iteration of the loop; so much longer those of
    LIGHT_ITERATION_NS = 2_000_000      # reads that are light, and of who has little to do and waited:
    LIGHT_NBYTES = 512                  # read at once, or of a message, costs little, unless the last such read of the connection took
    LIGHT_NS = 100_000                  # so long, or it has more open calls, each of which a byte of it may concern, than
    LIGHT_CALLS = 100
    FLUSH_NS = 100_000                  # what a connection gets is written for so long, then the others' is,
    FLUSH_ITERATION_NS = 500_000        # and what all get in one iteration, those with more than a turn's worth behind the others
    FLUSH_FRAMES = 32                   # of what is written, between two looks at the clock
    SELDOM_NS = 100_000                 # whose turns that it waited for took less, less what is forgotten, is before others in the line,
    FORGOTTEN_SHARE = 8192              # this part of the time, which is about as often as a good client is late by chance
    EXPECTED_BYTE_NS = 32               # that its next turn takes, for each byte that waits: headers of calls
    MAX_HELD_NBYTES = 32 << 20          # that were read and wait for a turn, of all connections; beyond them little more is read:
    LITTLE_NBYTES = 4 << 10             # of a connection at once
    WOKEN = 8                           # sockets, of who was silent for long or is to be ended, that can be read now, in one iteration
    MAX_FRAME_NBYTES = 1 << 20          # largest frame that a client may send
    MAX_STREAM_FRAMES = 4               # frames that wait for a client that does not read, for each stream it may have open; rejections too
    UNASKED_NBYTES = 1 << 10            # of a frame that asks for nothing count as one more
    IDLE_RECORD_FRAMES = 10             # control frames that a record of TLS without content counts for: it costs more than as many
    UNHEARD_NBYTES = 1 << 20            # a client for which more waits may send
    MAX_UNHEARD_RECORDS = 100           # records of TLS without content: it answers some of them
    MAX_SETTINGS = 32                   # entries of one SETTINGS frame
    ANSWERED_HEADERS = 4                # so many times max_header_nbytes, and LEAST_ANSWERED_NBYTES in any case, are read to reject
    LEAST_ANSWERED_NBYTES = 64 << 10    # them with a word; more are not read
    MAX_PATH_NBYTES = 256               # kept of an unknown method's path, for the words of its rejection
    MAX_METADATA = 128                  # metadata entries of one call
    OWN_CALLS = 16                      # that a connection may always have open; of more no more than all connections may still open
    STREAM_NBYTES = 4 << 10             # what a streaming call takes beside its messages, which count with it: a task and its generators
    HEADER_BLOCK_NS = 5_000_000_000     # a header block that is not whole by then ends its connection
    PRESSED_NS = 5_000_000_000          # over so long what holds much must move at min_message_rate_bytes while others find no room
    MAX_ENDED = 64                      # calls, stalled or late, that one look at a connection ends; its next one is behind the others
