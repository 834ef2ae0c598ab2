# cython: language_level=3
# admission: receive admission (see admission.pxd).

from cpython.object cimport PyObject

from inferd._core.grpc.call cimport Call
from inferd._core.grpc.message cimport (
    ADMITTED, NO_PLACE, WAITING, Admission, Message, check_room, receipt_nbytes, release_rest, reserve_whole
)

import logging

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef enum:
    PLACE_LOOKS = 5             # looks at an admitted message, until it loses its place; one at a whole message

LOOK_S = 0.05                   # while messages wait, admitted ones are looked at so often

log = logging.getLogger("inferd.grpc")


cdef class Line:

    cdef void append(self, Message message) noexcept:
        message.before, message.behind = self.last, NULL
        if self.last != NULL:
            (<Message>self.last).behind = <PyObject *>message
        else:
            self.first = <PyObject *>message
        self.last = <PyObject *>message

    cdef void remove(self, Message message) noexcept:
        if message.before != NULL:
            (<Message>message.before).behind = message.behind
        else:
            self.first = message.behind
        if message.behind != NULL:
            (<Message>message.behind).before = message.before
        else:
            self.last = message.before
        message.before = message.behind = NULL


cdef class ReceiveAdmission(Admission):
    """The large messages that come to one server. schedule(callback): loop.call_soon; call_later(seconds, callback): loop.call_later."""

    def __init__(self, schedule, call_later):
        self.schedule, self.call_later = schedule, call_later
        self.waiting, self.admitted = {}, Line()

    cdef int enter(self, Message message, Call call) except -1:
        cdef Line line
        message.place_nbytes = message.nbytes
        if not self.waiting and self.has_place(message.nbytes):
            return self.admit(message)
        check_room(message)
        line = self.waiting.get(call.connection_id)
        if line is None:
            line = self.waiting[call.connection_id] = Line()
        message.admission, message.standing = self, WAITING
        message.receiver, message.connection_id = <PyObject *>call, call.connection_id
        line.append(message)
        if line.first == <PyObject *>message:
            line.finish = self.virtual_time + message.place_nbytes
        if not self.looking:
            self.call_later(LOOK_S, self.look)
            self.looking, self.thread = True, PyThread_get_thread_ident()
        return 0

    cdef bint has_place(self, Py_ssize_t nbytes) noexcept:
        """One that is larger than all places together comes alone."""
        return self.admitted_nbytes == 0 or self.admitted_nbytes + nbytes <= receipt_nbytes()

    cdef int admit(self, Message message) except -1:
        reserve_whole(message)
        message.admission, message.standing = self, ADMITTED
        message.looks = 0
        self.admitted.append(message)
        self.admitted_nbytes += message.place_nbytes
        return 0

    cdef void leave(self, Message message) noexcept:
        if message.standing == ADMITTED:
            self.leave_place(message)
        else:
            self.leave_line(message)
        if self.waiting:
            self.schedule_admission()

    cdef void leave_place(self, Message message) noexcept:
        self.admitted.remove(message)
        self.admitted_nbytes -= message.place_nbytes
        message.standing, message.admission = NO_PLACE, None

    cdef void leave_line(self, Message message) noexcept:
        cdef Line line = self.waiting[message.connection_id]
        cdef PyObject *before = line.first
        line.remove(message)
        message.standing, message.admission = NO_PLACE, None
        if line.first == NULL:
            del self.waiting[message.connection_id]
        elif line.first != before:
            line.finish = max(self.virtual_time, line.finish) + (<Message>line.first).place_nbytes

    cdef Line next_line(self):
        """The one whose first message finishes first in virtual time; of equal ones the one that has waited longest."""
        cdef Line line, found = None
        for line in self.waiting.values():
            if found is None or line.finish < found.finish:
                found = line
        return found

    cdef void grown(self, Message message) noexcept:
        """Nobody announced how long it is. It does not ask again."""
        if message.standing == ADMITTED:
            self.admitted_nbytes += message.nbytes - message.place_nbytes
        message.place_nbytes = message.nbytes

    cdef void schedule_admission(self) noexcept:
        """A place that another thread leaves is given at the next look, or when the event loop leaves one."""
        if self.scheduled or PyThread_get_thread_ident() != self.thread:
            return
        try:
            self.schedule(self.admit_waiting)
            self.scheduled = True
        except Exception as error:
            log.error("messages that wait were not looked at", exc_info=error)

    def admit_waiting(self):
        """Places have become free."""
        cdef Line line
        cdef Message message
        cdef Call call
        self.scheduled = False
        while self.waiting:
            line = self.next_line()
            message = <Message>line.first
            if not self.has_place(message.place_nbytes):
                break
            call = <Call>message.receiver
            self.virtual_time += <double>message.place_nbytes / len(self.waiting)
            self.leave_line(message)
            try:
                self.admit(message)
            except Exception as error:          # all memory of messages is full
                call.credited(error)
            else:
                call.credited(None)

    def look(self):
        """Takes the place of each message that has had it for a while: its client sends too little, or it waits for its model. The memory
        that was reserved for it goes, too. The client keeps its credit, so bytes that still come are taken, and charged as they come."""
        cdef PyObject *behind
        cdef Message message
        self.looking = bool(self.waiting)
        if not self.looking:
            return
        self.call_later(LOOK_S, self.look)
        self.schedule_admission()
        behind = self.admitted.first    # from here on nothing lets another thread go on, which might free one of them
        while behind != NULL:
            message = <Message>behind
            behind = message.behind
            message.looks += 1
            if message.looks >= (1 if message.there_nbytes == message.nbytes else PLACE_LOOKS):
                self.leave_place(message)
                release_rest(message)
