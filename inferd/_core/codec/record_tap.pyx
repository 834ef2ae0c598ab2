# cython: language_level=3
"""record_tap: a tap that writes small requests into the columns of a record itself, on the thread that delivers them.

That costs less than to hand such a request to another thread, for which this one would wait
(benchmarks/history/record_cost.jsonl). Never in here: large requests, which wait for the recorder's thread as at any tap; files.
"""

cimport cython
from libc.stdint cimport int64_t

from inferd._core.batching.tap cimport Tap, Tapped
from inferd._core.codec.columns cimport Columns
from inferd._core.codec.infer cimport InferRequest
from inferd._core.grpc.message cimport Message

cdef enum:
    SMALL_NBYTES = 4 << 10      # of a request and its response, with a KiB of their own
    MOST_AT_ONCE = 2            # more than come: so those that wait get fewer


@cython.final
cdef class RecordTap(Tap):
    """columns: of the batch that is filled, which other taps may share. wall_offset_ns: the wall clock's time less the monotonic one.
    failed(columns, error): clears them after an exception. Other arguments: of Tap."""

    cdef public Columns columns
    cdef int64_t wall_offset_ns
    cdef object failed

    def __init__(self, double share, Columns columns not None, int64_t wall_offset_ns, object failed not None, *,
                 Py_ssize_t max_held_nbytes):
        super().__init__(share, max_held_nbytes=max_held_nbytes)
        self.columns, self.wall_offset_ns, self.failed = columns, wall_offset_ns, failed

    cdef int put(self, Tapped tapped) except -1:
        cdef Columns columns = self.columns
        cdef int _i
        Tap.put(self, tapped)
        if columns.enter():     # else the recorder's thread is there, and others wait until it leaves
            try:
                for _i in range(MOST_AT_ONCE):
                    if not self.waiting or columns.is_full(1) or not is_small(<Tapped>self.waiting[0]):
                        break
                    columns.add(<Tapped>self.waiting.pop(0), self.wall_offset_ns, None)
            except Exception as error:
                self.failed(columns, error)
            finally:
                columns.leave()
        return 0


cdef bint is_small(Tapped tapped) except -1:
    """And the columns take it as it is."""
    cdef bint native = tapped.response is None or (type(tapped.response) is Message and type(tapped.request) is InferRequest)
    return native and tapped.held_nbytes <= SMALL_NBYTES and tapped.nbytes <= SMALL_NBYTES
