# cython: language_level=3, boundscheck=False, wraparound=False
# tls_reader: what a client sends by TLS, decrypted in turns. The loop's TLS hands OpenSSL all that has come at once, however many records
# these are, and one without content (a KeyUpdate, a byte of it) costs as much as a thousand bytes of a message.
# And OpenSSL's last word to a client that is rejected, which the loop's TLS throws away. Never in here: sockets, certificates, HTTP/2.

from contextlib import suppress
from ssl import SSLError, SSLWantReadError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from inferd._core.base.clock cimport monotonic_ns
from inferd._core.http2.limits cimport TURN_NS

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *memory, Py_ssize_t nbytes, int flags)
    const int PyBUF_READ

cdef enum:
    HEADER_NBYTES = 5           # of a record
    CHUNK_NBYTES = 16 << 10     # taken out of what has come, at a time
    SLICE_RECORDS = 4           # OpenSSL has so many records at most that it has not looked at: it reads on until one has content
    LEAST_NBYTES = 9            # of a record's content, that of a frame's header: records with less, or none, are idle
    TOLD_RECORDS = 256          # of those are told to who counts them, at the latest
    MAX_HANDSHAKE_RECORDS = 64  # a client needs fewer than ten
    MAX_HANDSHAKE_NBYTES = 24 << 10        # and 10 KiB: a stranger's chain of hundreds of certificates takes long to decode
    CLOSING_NBYTES = 64 << 10   # are read of who goes on when the server has closed the connection: windows that it opens while it reads,
    CLOSING_RECORDS = 512       # and its word at the end, in so many records


cdef class TlsReader:
    """An ssl.SSLObject for the loop's TLS. session: the real one, whose incoming buffer is `inner`; incoming, outgoing: the loop's.
    send(content): gives the socket what it takes of it at once, or raises OSError.

    When a turn is over, read() has nothing (SSLWantReadError) until begin_turn(), and tell(idle_records) is called soon after: by then
    what was read is in its reader's hands. idle_records: that had no content, or next to none, since the last call; where these are many
    it is called within a turn, too, with `is_over` unset.
    """

    cdef object session, incoming, inner, outgoing, send, schedule, tell
    cdef object read_record, pending_nbytes     # session's own
    cdef readonly object write  # the same
    cdef bint full              # the last read filled its buffer, and OpenSSL has more of the record
    cdef public int64_t turn_ns # TURN_NS, but in tests
    cdef readonly bint is_over  # the turn
    cdef int64_t spent_ns       # of the turn
    cdef bytes chunk            # taken out of `incoming`; from `at` on not yet in `inner`
    cdef Py_ssize_t at
    cdef int header_nbytes      # of the record that the chunk is in the midst of: read of its header,
    cdef Py_ssize_t body_nbytes # in its body,
    cdef Py_ssize_t left_nbytes # and what is still to come of it
    cdef int64_t idle_records, records
    cdef int64_t nbytes         # given to OpenSSL
    cdef int64_t unread_records         # that OpenSSL has, or had, and that gave nothing yet
    cdef bint telling           # it is scheduled
    cdef Py_ssize_t closing_nbytes      # that are still read once the server has closed the connection; -1: it has not
    cdef int64_t last_record    # of which something is still read then

    def __init__(self, session, incoming not None, inner not None, outgoing not None, send not None):
        direct = getattr(session, "_sslobj", session)   # an SSLObject's methods do nothing but call those
        self.session, self.incoming, self.inner, self.outgoing, self.send = session, incoming, inner, outgoing, send
        self.read_record, self.pending_nbytes, self.write = direct.read, direct.pending, direct.write
        self.turn_ns = TURN_NS
        self.chunk = b""
        self.closing_nbytes = -1

    def __getattr__(self, name):
        return getattr(self.session, name)

    def pending(self):
        """Bytes that read() may have, beside those in `incoming`."""
        return self.held() + <Py_ssize_t>self.inner.pending + PyBytes_GET_SIZE(self.chunk) - self.at

    def do_handshake(self):
        while True:
            try:
                self.session.do_handshake()
            except SSLWantReadError:
                if not self.feed(1):            # what comes behind the handshake is none of it
                    raise
                if self.records > MAX_HANDSHAKE_RECORDS:
                    raise SSLError(f"more than {MAX_HANDSHAKE_RECORDS} records before the handshake was made") from None
                if self.nbytes > MAX_HANDSHAKE_NBYTES:
                    raise SSLError(f"more than {MAX_HANDSHAKE_NBYTES} bytes before the handshake was made") from None
            except SSLError:
                self.say_last()
                raise
            else:
                self.unread_records = 0
                return

    def read(self, Py_ssize_t nbytes=1024, buffer=None):
        """Of one record, as ssl.SSLObject.read."""
        cdef int64_t since_ns, spent_ns
        if self.is_over:
            raise SSLWantReadError("it is the others' turn")
        since_ns = monotonic_ns()
        try:
            while True:
                while self.needs_more() and self.feed():
                    pass
                try:
                    if buffer is None:
                        content = self.read_record(nbytes)
                        self.count(len(content), nbytes)
                    else:
                        content = self.read_record(nbytes, buffer)
                        self.count(content, nbytes)
                    return content
                except SSLWantReadError:
                    self.full = False
                    self.count_idle()
                    if self.has_all() or self.is_late(self.spent_ns + monotonic_ns() - since_ns):
                        raise
        finally:
            spent_ns = self.spent_ns + monotonic_ns() - since_ns
            self.is_over = self.is_late(spent_ns)
            self.spent_ns = 0 if self.has_all() else spent_ns
            if self.is_over or self.idle_records >= TOLD_RECORDS:
                self.tell_soon()

    def unwrap(self):
        self.close()
        while self.feed():
            pass
        return self.session.unwrap()

    def say_last(self):
        """Sends what the client has not been told yet: why the handshake has failed (an alert), or that the server closes (close_notify).
        Called before the loop cuts the connection off, which drops that. What the socket does not take at once is lost."""
        with suppress(OSError):     # SSLError is one: it has failed, or the client's own word at the end is not there
            self.session.unwrap()
        with suppress(OSError):
            self.send(self.outgoing.read())

    def take_turns(self, schedule, tell):
        """From now on, until it is called with None for both. schedule(callback): calls it soon."""
        self.schedule, self.tell = schedule, tell

    def begin_turn(self):
        self.is_over = False
        self.spent_ns = 0

    def close(self):
        """The server has closed the connection: little more is read of what the client sends, and more is an SSLError."""
        if self.closing_nbytes < 0:
            self.closing_nbytes = CLOSING_NBYTES
            self.last_record = self.records + CLOSING_RECORDS
        self.begin_turn()

    cdef bint needs_more(self) except -1:
        """OpenSSL has no whole record: what it has read of one it keeps itself, or it is the last in `inner`."""
        return <Py_ssize_t>self.inner.pending <= self.header_nbytes + self.body_nbytes and self.held() == 0

    cdef int count(self, Py_ssize_t content_nbytes, Py_ssize_t room_nbytes) except -1:
        """Content of a record was read."""
        if not self.full and content_nbytes >= min(LEAST_NBYTES, room_nbytes) and self.unread_records > 0:
            self.unread_records -= 1
        self.full = content_nbytes == room_nbytes and <Py_ssize_t>self.pending_nbytes() > 0
        if self.unread_records > 0 and self.needs_more():
            self.count_idle()
        return 0

    cdef void count_idle(self) noexcept:
        """OpenSSL has looked at all records that it was given."""
        self.idle_records += self.unread_records
        self.unread_records = 0

    cdef Py_ssize_t held(self) except -1:
        """Content that OpenSSL has decrypted."""
        return self.pending_nbytes() if self.full else 0

    cdef bint has_all(self) except -1:
        """OpenSSL has all that has come, and no content of it is left."""
        return self.at == PyBytes_GET_SIZE(self.chunk) and <Py_ssize_t>self.incoming.pending == 0 and self.needs_more()

    cdef bint is_late(self, int64_t spent_ns) noexcept:
        return spent_ns >= self.turn_ns and self.tell is not None and self.closing_nbytes < 0

    cdef int tell_soon(self) except -1:
        if self.tell is not None and not self.telling:
            self.telling = True
            self.schedule(self.tell_now)
        return 0

    def tell_now(self):
        cdef int64_t idle_records = self.idle_records
        self.telling, self.idle_records = False, 0
        if self.tell is not None:
            self.tell(idle_records)

    cdef bint feed(self, int most=SLICE_RECORDS) except -1:
        """Gives OpenSSL the next few records, or what has come of one. False: nothing has come."""
        cdef const uint8_t *source
        cdef Py_ssize_t nbytes = PyBytes_GET_SIZE(self.chunk), end, piece
        cdef int records = 0
        if self.at == nbytes:
            self.chunk = self.incoming.read(CHUNK_NBYTES)
            self.at, nbytes = 0, PyBytes_GET_SIZE(self.chunk)
            if nbytes == 0:
                return False
        source = <const uint8_t *>PyBytes_AS_STRING(self.chunk)
        end = self.at
        while end < nbytes and records < most:
            if self.header_nbytes < HEADER_NBYTES:
                if self.header_nbytes >= 3:
                    self.left_nbytes = self.left_nbytes << 8 | source[end]
                self.header_nbytes += 1
                end += 1
                if self.header_nbytes < HEADER_NBYTES:
                    continue
            piece = min(self.left_nbytes, nbytes - end)
            end += piece
            self.body_nbytes += piece
            self.left_nbytes -= piece
            if self.left_nbytes == 0:
                records += 1
                self.header_nbytes = self.body_nbytes = 0
        self.records += records
        self.unread_records += records
        self.nbytes += end - self.at
        if self.closing_nbytes >= 0:
            self.closing_nbytes -= end - self.at
            if self.closing_nbytes < 0 or self.records > self.last_record:
                self.closing_nbytes = 0
                raise SSLError("the client sends on a connection that is closed")
        self.inner.write(PyMemoryView_FromMemory(<char *>source + self.at, end - self.at, PyBUF_READ))
        self.at = end
        return True
