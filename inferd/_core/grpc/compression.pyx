# cython: language_level=3
# compression: gzip and deflate of one message, a piece at a time (see compression.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.grpc.message cimport Message, append_bytes, awaited_message, count_copied
from inferd._core.base.yielding cimport Turn, yield_after

import zlib

from inferd.errors import DeadlineExceeded, Internal, ResourceExhausted

WINDOW_BITS = {"gzip": 31, "deflate": 15}       # how zlib names its formats
LEVEL = 1                       # the quickest compression

cdef enum:
    PIECE_NBYTES = 32 << 10     # what the zlib module makes without copying; between two pieces a thread looks whether it was cancelled
    CHUNK_NBYTES = 64 << 10     # zlib gets this much of a message at once: it copies what it leaves of that
    INLINE_COMPRESSED_NBYTES = 10 << 10         # the loop decompresses a request of at most this size,
    INLINE_DECOMPRESSED_NBYTES = 32 << 10       # if the result has at most this size; else a thread begins anew
    INLINE_RESPONSE_NBYTES = 8 << 10            # the loop compresses a response of at most this size
    COMPRESSION_WEIGHT = 4      # to compress a byte takes this many times as long as to decompress one


cdef class Conversion:
    """The decompression or compression of one message. when_over(): see `done`."""

    def __init__(self, Message source not None, str encoding not None, when_over=None, int64_t deadline_ns=INT64_MAX):
        self.source, self.encoding, self.when_over, self.deadline_ns = source, encoding, when_over, deadline_ns
        self.nbytes = source.nbytes
        self.view = memoryview(source)

    def run(self, int64_t until_ns=INT64_MAX):
        """Does the work, on any thread, and raises nothing. False: it was not over at until_ns, and begins anew next time. So a message
        that waits holds none of zlib's memory, 40 KB to decompress and 270 KB to compress."""
        cdef Turn turn = Turn(0, 0)
        if self.over or self.cancelled:
            return True
        self.running = True
        while True:
            if monotonic_ns() >= self.deadline_ns:
                self.fail(DeadlineExceeded("the deadline passed before the request was decompressed", reason="deadline"))
            else:
                self.attempt(PIECE_NBYTES)
                with nogil:
                    yield_after(&turn)
            if self.over or self.cancelled or monotonic_ns() >= until_ns:
                break
        self.running = False
        if self.cancelled:
            self.drop()
        elif not self.over:
            self.restart()
        return self.over or self.cancelled

    def done(self):
        """Calls when_over, after run(), on the loop's thread."""
        when_over, self.when_over = self.when_over, None
        self.when_cancelled = None
        if when_over is not None and not self.cancelled:
            when_over()

    cdef bint attempt(self, Py_ssize_t nbytes) noexcept:
        try:
            self.over = self.step(nbytes)
        except Exception as error:
            self.fail(error)
        if self.over:
            self.view = self.zlib = None
        return self.over

    cdef void fail(self, error) noexcept:
        self.error = error
        self.result = None
        self.over = True

    cdef bint step(self, Py_ssize_t nbytes) except -1:
        raise NotImplementedError

    cdef void restart(self) noexcept:
        self.zlib = self.result = None
        self.taken_nbytes = self.moved_nbytes = 0

    cdef int append(self, bytes piece) except -1:
        cdef Py_ssize_t nbytes = PyBytes_GET_SIZE(piece)
        if self.result is None:
            self.result = awaited_message(nbytes)
            self.result.share = self.source.share
        append_bytes(self.result, PyBytes_AS_STRING(piece), nbytes)
        return 0

    cpdef void cancel(self) noexcept:
        when_cancelled, self.when_cancelled = self.when_cancelled, None
        self.cancelled = True
        self.when_over = None
        if when_cancelled is not None:
            when_cancelled(self)
        if not self.running:
            self.drop()

    cdef void drop(self) noexcept:
        self.source = self.result = self.view = self.zlib = self.when_over = None


cdef class Decompression(Conversion):
    """A request's message. encoding: "gzip" or "deflate". max_nbytes: the largest result. `error` is a ResourceExhausted as soon as the
    result is larger, or the budget of messages is spent. It is an Internal, as in grpc's own servers, if the bytes are not in that
    encoding."""

    def __init__(self, Message source not None, str encoding not None, Py_ssize_t max_nbytes, when_over=None,
                 int64_t deadline_ns=INT64_MAX):
        super().__init__(source, encoding, when_over, deadline_ns)
        self.max_nbytes = max_nbytes
        self.inline_nbytes = INLINE_DECOMPRESSED_NBYTES if source.nbytes <= INLINE_COMPRESSED_NBYTES else 0
        self.weight = 1

    cdef bint step(self, Py_ssize_t nbytes) except -1:
        if self.source.nbytes == 0:             # an empty message, as for grpc's servers
            self.result = Message.wrap(b"")
            return True
        if self.zlib is None:
            self.zlib = zlib.decompressobj(WINDOW_BITS[self.encoding])
        self.append(self.next_piece(min(nbytes, self.max_nbytes + 1 - self.moved_nbytes)))
        self.moved_nbytes = self.result.nbytes
        if self.result.nbytes > self.max_nbytes:
            raise ResourceExhausted(
                f"request message: expected at most {self.max_nbytes} bytes (max_message_bytes; less where a method needs less) once it is "
                f"decompressed, got more from {self.source.nbytes} bytes of {self.encoding}; split the request into smaller ones, or have "
                "the server's limit raised",
                reason="message_size")
        if not self.zlib.eof:
            return False
        if self.zlib.unused_data or self.taken_nbytes < self.source.nbytes:
            raise self.bad("there are more behind its end")
        count_copied(self.result.nbytes)
        self.source = None
        return True

    cdef bytes next_piece(self, Py_ssize_t max_nbytes):
        """The next bytes, max_nbytes at most; b"": zlib has read a chunk that gave none."""
        chunk = self.zlib.unconsumed_tail
        if not chunk:
            chunk = self.view[self.taken_nbytes : self.taken_nbytes + CHUNK_NBYTES]
            self.taken_nbytes += len(chunk)
        try:
            piece = self.zlib.decompress(chunk, max_nbytes)
        except zlib.error:
            raise self.bad("they are something else") from None
        if not piece and not self.zlib.eof and not chunk:
            raise self.bad("they are cut short")
        return piece

    cdef bad(self, str what):
        return Internal(f"request message: expected {self.source.nbytes} bytes of {self.encoding}, as grpc-encoding says; {what}",
                        reason="compression")


cdef class Compression(Conversion):
    """A response's message. encoding: "gzip" or "deflate". `result` is None if compression saves nothing."""

    def __init__(self, Message source not None, str encoding not None, when_over=None):
        super().__init__(source, encoding, when_over)
        self.inline_nbytes = source.nbytes if source.nbytes <= INLINE_RESPONSE_NBYTES else 0
        self.weight = COMPRESSION_WEIGHT

    cdef bint step(self, Py_ssize_t nbytes) except -1:
        if self.zlib is None:
            self.zlib = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS[self.encoding])
        chunk = self.view[self.taken_nbytes : self.taken_nbytes + nbytes]
        self.moved_nbytes = self.taken_nbytes = self.taken_nbytes + len(chunk)
        self.append(self.zlib.compress(chunk))
        if self.taken_nbytes == self.source.nbytes:
            self.append(self.zlib.flush())
        if self.result.nbytes >= self.source.nbytes:
            self.result = None
            return True
        self.result.compressed = True
        return self.taken_nbytes == self.source.nbytes
