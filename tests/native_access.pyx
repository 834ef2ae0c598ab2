# cython: language_level=3
"""native_access: what tests and benchmarks call in native modules, and Python otherwise cannot. No wheel holds it (setup.py)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, UINT16_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.base.key cimport key_of
from inferd._core.batching.queue cimport (
    ADMITTED, BYTES_FULL, LEVEL_FULL, QUEUE_FULL, TOO_LATE, WAIT_FULL, BatchQueue, Entry, slot_of
)
from inferd._core.batching.request cimport Request
from inferd._core.batching.run_times cimport RunTimes
from inferd._core.codec cimport classes
from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.message cimport Message
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport Head, verb_of
from inferd._core.inference.path cimport Route
from inferd._core.inference.split cimport Split
from inferd._core.load.response cimport Expected, response_fault
from inferd._core.metrics.histogram cimport Statistics
from inferd._core.net.limits cimport TURN_REQUESTS
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.server_state cimport ServerState
from inferd._core.net.stream_socket cimport CLOSING, StreamSocket
from inferd._core.tensor.view cimport MAX_TENSORS
from inferd._core.tensor.signature cimport Signature

from inferd.errors import InvalidArgument

cdef dict LIMITS = {QUEUE_FULL: "queue", LEVEL_FULL: "level", BYTES_FULL: "bytes", WAIT_FULL: "wait", TOO_LATE: "deadline"}


cdef class IntegerQueue:
    """A BatchQueue of the same arguments, whose requests are integers."""

    cdef readonly BatchQueue queue
    cdef dict entries                   # id -> address
    cdef int64_t last_id

    def __cinit__(self, *args, **policy):
        self.entries = {}
        self.queue = BatchQueue(*args, **policy)

    def __dealloc__(self):
        for address in self.entries.values():
            free(<void *><uint64_t>address)

    def push(self, int64_t rows, uint64_t shape_key, deadline_ns, uint32_t priority, int64_t now_ns, int64_t timeout_ns=0,
             int64_t nbytes=0, uint32_t near_key=0, uint64_t connection_id=0, cost=None):
        """Admits one request and returns its id; deadline_ns None: none. Raises OverflowError naming the limit: queue, level, bytes, wait
        or deadline."""
        cdef Entry *entry = <Entry *>calloc(1, sizeof(Entry))
        if entry == NULL:
            raise MemoryError
        entry.rows = rows
        entry.shape_key = shape_key
        entry.near_key = near_key
        entry.connection_slot = slot_of(connection_id)
        entry.cost = rows if cost is None else cost
        entry.deadline_ns = INT64_MAX if deadline_ns is None else deadline_ns
        entry.priority = <uint16_t>min(priority, <uint32_t>UINT16_MAX)
        entry.timeout_ns = timeout_ns
        entry.nbytes = nbytes
        status = self.queue.admit(entry, now_ns)
        if status != ADMITTED:
            free(entry)
            raise OverflowError(LIMITS[status])
        self.last_id += 1
        entry.owner = <void *>self.last_id
        self.entries[self.last_id] = <uint64_t>entry
        return self.last_id

    def take(self, int64_t now_ns):
        """(ids of the batch that is due, ids of the expired)."""
        dropped = self.freed(self.queue.drop_hopeless(now_ns))
        return self.freed(self.queue.form(now_ns)), dropped

    def expire(self, int64_t now_ns):
        return self.freed(self.queue.drop_expired(now_ns))

    def cancel(self, int64_t id):
        cdef Entry *entry = <Entry *><uint64_t>self.entries[id]
        self.queue.remove(entry)
        self.freed(entry)

    def expect(self, int64_t requests, int64_t until_ns):
        self.queue.expect(requests, until_ns)

    def over(self, int64_t rows, int64_t run_ns, int64_t now_ns):
        self.queue.over(rows, run_ns, now_ns)

    def wait_ns(self, int64_t now_ns):
        """How long a request behind all that waits is likely to wait; 0 where nothing is known."""
        return self.queue.wait_ns(self.queue.requests, self.queue.rows, now_ns)

    def look_behind(self, IntegerQueue behind not None, int64_t now_ns):
        self.queue.look_behind(behind.queue, now_ns)

    def due_ns(self, int64_t now_ns):
        """When a batch is due; None while nothing waits."""
        cdef int64_t due_ns = self.queue.due(now_ns)
        return None if due_ns == INT64_MAX else due_ns

    cdef list freed(self, Entry *entry):
        cdef Entry *following
        ids = []
        while entry != NULL:
            following = entry.next
            id = <int64_t>entry.owner
            del self.entries[id]
            ids.append(id)
            free(entry)
            entry = following
        return ids


cdef class ConstantRoute(Route):
    """A route without a model: every request gets the same response at once."""

    cdef Message response

    def __init__(self, Signature signature not None, Message response not None):
        self.signature, self.response = signature, response

    cpdef check(self, Request request):
        request.check(self.signature)

    cpdef submit(self, Request request, Call call):
        call.reply(self.response)


def record_time(RunTimes times not None, int64_t rows, int64_t run_ns, int64_t now_ns):
    times.record(rows, run_ns, now_ns)


def estimate(RunTimes times not None, int64_t rows, int64_t now_ns):
    return times.estimate(rows, now_ns)


def record_request(Statistics statistics not None, int64_t rows, int64_t decode_ns, int64_t queue_ns, int64_t preprocess_ns,
                   int64_t execute_ns, int64_t encode_ns, int64_t request_ns):
    """One request with a response, alone in its batch."""
    statistics.record_request(rows, decode_ns, queue_ns, preprocess_ns, request_ns)
    statistics.record_stages(1, execute_ns, encode_ns)


def record_run(Statistics statistics not None, int64_t rows, int64_t preprocess_ns, int64_t execute_ns, int64_t encode_ns):
    statistics.record_run(rows, preprocess_ns, execute_ns, encode_ns)


def chooses(Split split not None, bytes key=b""):
    """Whether a request of this key goes to the candidate; b"": it has none."""
    return split.takes(key_of(<const char *>key, len(key)))


def head_of(str verb not None, target not None, fields=()):
    """A head as a transport makes it. verb: "GET". target: path and query. fields: pairs of names and values. All may be str or bytes.
    Raises the RequestError of what is wrong with them."""
    cdef Head head = Head.__new__(Head)
    cdef bytes encoded = bytes_of(target)
    cdef bytes name, value
    head.verb_name = verb.encode()
    head.open(verb_of(head.verb_name), <const uint8_t *>PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
    for key, text in fields:
        name, value = bytes_of(key), bytes_of(text)
        for byte in value:
            if byte < 0x20 and byte != 0x09 or byte == 0x7F:
                raise InvalidArgument(f"header {name.decode('latin-1')}: expected no control characters, got byte {byte}")
        head.add(<const uint8_t *>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                 <const uint8_t *>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    head.finish()
    return head


cdef bytes bytes_of(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def screen_and_admit(HttpHandler handler not None, Call call not None, Head head not None):
    handler.screen(call, head)
    handler.admit(call, head)


def fault_of(bytes response not None, models=(), outputs=(), versions=()):
    """The fault that the load generator finds in a serialized ModelInferResponse, or None. models, outputs: names (bytes) that its model
    and its outputs may have, versions: those of the model; empty: any."""
    cdef Bytes[MAX_TENSORS] model_names, output_names, version_names
    cdef Expected expected
    expected.models, expected.model_count = model_names, fill(model_names, models)
    expected.outputs, expected.output_count = output_names, fill(output_names, outputs)
    expected.versions, expected.version_count = version_names, fill(version_names, versions)
    fault = response_fault(PyBytes_AS_STRING(response), PyBytes_GET_SIZE(response), &expected)
    return None if fault == NULL else fault.decode()


cdef int fill(Bytes *names, words) except -1:
    """Points to `words`, which the caller holds; MAX_TENSORS at most."""
    cdef bytes word
    cdef int count = 0
    for word in words:
        if count == MAX_TENSORS:
            raise ValueError(f"expected {<int>MAX_TENSORS} names at most")
        names[count].data, names[count].nbytes = PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word)
        count += 1
    return count


cdef class MemorySocket(StreamSocket):
    """A connection without a socket and without turns: the caller moves the bytes.

    write(bytes): takes output. close_transport(): the protocol is over. client: as of StreamSocket.
    """

    cdef object write, close_transport

    def __init__(self, ServerState server not None, Protocol protocol not None, write, close_transport, client=None):
        super().__init__(server, protocol, client=client)
        self.write, self.close_transport = write, close_transport
        self.open()

    def receive(self, const uint8_t[::1] source not None):
        """Takes these bytes behind those that wait, all of them unless the protocol pauses."""
        cdef bytes unread = bytes(source) if self.pending is None else self.pending + bytes(source)
        self.pending = None
        self.missing_nbytes = self.payload_nbytes = 0
        self.allowance_nbytes = PyBytes_GET_SIZE(unread) + 1
        self.most_begun_requests = self.begun_requests + TURN_REQUESTS
        self.take_pieces(<const uint8_t *>PyBytes_AS_STRING(unread), PyBytes_GET_SIZE(unread), monotonic_ns())
        if self.pending is None:
            self.set_mark(source.shape[0])

    def read_on(self):
        self.receive(b"")

    def run_backlogs(self):
        if self.resuming is not None and self.state < CLOSING:
            self.most_begun_requests = self.begun_requests + TURN_REQUESTS
            self.protocol.take_backlogs()

    def pause_writing(self):
        """The transport's buffer is full. No output is made until resume_writing."""
        self.unsent = bytearray()

    def resume_writing(self):
        self.unsent = None
        self.mark_dirty()

    def close(self):
        super().close()
        self.write = self.close_transport = None

    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
        self.server.totals.sent_nbytes += nbytes
        if self.write is not None:
            self.write(<bytes>piece[:nbytes])
        return 0

    cdef void finish(self) noexcept:
        if self.state < CLOSING:
            self.enter(CLOSING)
            try:
                self.close_transport()
            except Exception as error:
                self.server.log(error)

    cdef void schedule_flush_turn(self) noexcept:
        self.unfinished = True
        self.mark_dirty()

    cdef int resume_call(self, call) except -1:
        StreamSocket.resume_call(self, call)
        self.server.schedule(self.run_backlogs)
        return 0

    cdef int resume_reading(self) except -1:
        self.paused = False
        if self.pending is not None:
            self.server.schedule(self.read_on)
        return 0


def classify(array not None, labels, Py_ssize_t count, bint batched):
    """An output as the texts of its largest values (codec/classes)."""
    return classes.classify(array, labels, count, batched)
