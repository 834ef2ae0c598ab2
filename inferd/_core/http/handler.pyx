# cython: language_level=3
# handler: serves HTTP requests (see handler.pxd).

cimport cython

from inferd._core.grpc.call cimport Call
from inferd._core.http.head cimport Head

cdef class HttpHandler:
    """Serves HTTP requests. Native transports call `admit` and `take`, without a Python frame; others call the object with both."""

    cdef int admit(self, Call call, Head head) except -1:
        return 0

    cdef int take(self, Call call, Head head) except -1:
        raise NotImplementedError

    def __call__(self, Call call not None, Head head not None):
        self.take(call, head)

    def check(self, Call call not None, Head head not None):
        """The same as `admit`, for transports in Python."""
        self.admit(call, head)


@cython.final
cdef class CallableHandler(HttpHandler):
    """Any callable that takes a call and its head."""

    cdef object function

    cdef int take(self, Call call, Head head) except -1:
        self.function(call, head)
        return 0


cdef HttpHandler http_handler(handler):
    cdef CallableHandler wrapped
    if isinstance(handler, HttpHandler):
        return <HttpHandler>handler
    wrapped = CallableHandler.__new__(CallableHandler)
    wrapped.function = handler
    return wrapped


@cython.final
cdef class HttpService(HttpHandler):
    """Inferences go to one handler, all else to another.

    infer: an HttpHandler for POST .../infer. others(call, head): a callable for all other requests. admits(call, head): a callable that
    raises the rejection of a request before its body comes, or None. Inferences do without it, except those of pages in a browser, which
    have an Origin.
    """

    cdef HttpHandler infer, others
    cdef object admits

    def __init__(self, infer not None, others not None, admits=None):
        self.infer, self.others, self.admits = http_handler(infer), http_handler(others), admits

    cdef int admit(self, Call call, Head head) except -1:
        if self.admits is not None and (not head.is_infer or head.origin is not None):
            self.admits(call, head)
        return (self.infer if head.is_infer else self.others).admit(call, head)

    cdef int take(self, Call call, Head head) except -1:
        if head.is_infer:
            return self.infer.take(call, head)
        return self.others.take(call, head)
