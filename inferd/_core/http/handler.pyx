# cython: language_level=3
# handler: serves HTTP requests (see handler.pxd).

cimport cython

from inferd._core.grpc.call cimport Call
from inferd._core.http.head cimport Head

cdef class HttpHandler:
    """Serves HTTP requests. Transports call `screen`, `admit` and `take`, without a Python frame; Python calls the object."""

    cdef int screen(self, Call call, Head head) except -1:
        return 0

    cdef int admit(self, Call call, Head head) except -1:
        return 0

    cdef int take(self, Call call, Head head) except -1:
        raise NotImplementedError

    def __call__(self, Call call not None, Head head not None):
        self.take(call, head)


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

    infer: an HttpHandler for POST .../infer. others(call, head): a callable for all other requests. screens(call, head), admits(call,
    head): callables that raise the rejection of a request before its body comes, or None. `screens` is called before the token is
    checked. Inferences do without both, except that those of a browser are screened.
    """

    cdef HttpHandler infer, others
    cdef object screens, admits

    def __init__(self, infer not None, others not None, screens=None, admits=None):
        self.infer, self.others, self.screens, self.admits = http_handler(infer), http_handler(others), screens, admits

    cdef int screen(self, Call call, Head head) except -1:
        if self.screens is not None and (not head.is_infer or head.origin is not None or head.from_browser):
            self.screens(call, head)
        return (self.infer if head.is_infer else self.others).screen(call, head)

    cdef int admit(self, Call call, Head head) except -1:
        if self.admits is not None and not head.is_infer:
            self.admits(call, head)
        return (self.infer if head.is_infer else self.others).admit(call, head)

    cdef int take(self, Call call, Head head) except -1:
        if head.is_infer:
            return self.infer.take(call, head)
        return self.others.take(call, head)
