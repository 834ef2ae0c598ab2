# admission: receive admission. Large messages get credit while those that are there fit into RECEIPT_NBYTES. Without it, a server with too
# much to do takes a little of each message and ends none. Connections take turns by fair queueing (Demers, Keshav, Shenker 1989). Virtual
# time counts the bytes that each waiting connection would have got if all got theirs at once, byte by byte. The message that would be whole
# first goes first. So 100 KB wait for few of those of 16 MiB, however many connections have some.
# Never in here: what credit is (a window of HTTP/2, reading a socket), and which client moves too little to be served (net/stall_policy).

from cpython.object cimport PyObject
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.message cimport Admission, Message

cdef class Line:                # messages, the oldest first; borrowed, since a message that goes away leaves by itself
    cdef PyObject *first
    cdef PyObject *last
    cdef double finish          # when its first message would be whole, in virtual time
    cdef void append(self, Message message) noexcept
    cdef void remove(self, Message message) noexcept

cdef class ReceiveAdmission(Admission):
    cdef object schedule        # loop.call_soon
    cdef object call_later      # loop.call_later
    cdef dict waiting           # connection's number -> Line of its messages that wait
    cdef double virtual_time
    cdef Line admitted
    cdef readonly Py_ssize_t admitted_nbytes    # what the places of admitted messages count together
    cdef bint scheduled         # admit_waiting is
    cdef bint looking           # look is
    cdef unsigned long thread   # the event loop's
    # A large message begins to come, or a message has become large. It is charged as a whole now, and ADMITTED; or it is WAITING until
    # call.credited() is called. Raises ResourceExhausted if there is no room for it: before its bytes come.
    cdef int enter(self, Message message, Call call) except -1
    cdef bint has_place(self, Py_ssize_t nbytes) noexcept
    cdef int admit(self, Message message) except -1
    cdef void leave_place(self, Message message) noexcept
    cdef void leave_line(self, Message message) noexcept
    cdef Line next_line(self)
    cdef void schedule_admission(self) noexcept
