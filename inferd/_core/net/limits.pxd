# limits: how much a client may make the server read, hold or do, whatever it speaks, where no setting says it. docs/operations.md,
# "What you may want to tune", has those that matter to an operator. Constants only.

cdef enum:
    # In one iteration of the event loop, the turns of all connections take this long together.
    BUDGET_NS = 1_000_000
    # A turn reads this much of a connection, because frames of a few bytes can cost milliseconds. It reads 64 KiB (RECEIVE_NBYTES) if a
    # message still lacks more than this.
    READ_NBYTES = 4 << 10
    # It reads this much after a read by TLS that held no content. KeyUpdates cost 10 us each; a record may come in parts.
    SPARSE_READ_NBYTES = 1 << 10
    # A connection lets others go first when its turns have cost this much: more than a small request, less than a burst of them.
    QUANTUM = 512
    # A record of TLS takes so many bytes of what a turn may take of frames: OpenSSL takes some 10 us for it.
    RECORD_NBYTES = 64
    # A turn costs one byte for each byte of frames, and one for each 16 bytes of message payload.
    PAYLOAD_SHARE = 16
    # One flush writes this much of all connections. The connections behind that write in turns.
    FLUSH_NBYTES = 1 << 20
    # A connection is aborted when more output than this waits for its socket: one write, and responses of TLS to a client that reads
    # nothing.
    MAX_UNSENT_NBYTES = 512 << 10
    # This much of the path of an unknown method, or of a REST call, is kept for messages and the log.
    MAX_PATH_NBYTES = 256
    # Calls that are no inference run as tasks. Each task, and each stream of ModelStreamInfer, is charged for this much memory beside its
    # messages.
    TASK_NBYTES = 4 << 10
    # Smaller responses are not worth compressing.
    LEAST_COMPRESSED_NBYTES = 1024
    # A turn begins this many requests of streams of ModelStreamInfer.
    TURN_REQUESTS = 64
