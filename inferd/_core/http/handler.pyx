# cython: language_level=3
# handler: serves HTTP requests (see handler.pxd).

cimport cython
from cpython.dict cimport PyDict_Contains

from inferd._core.grpc.call cimport Call
from inferd._core.http.head cimport Head

cdef tuple NOT_FOR_CACHES = (b"vary", b"origin")


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

    infer: an HttpHandler for POST .../infer. others(call, head): a callable for all other requests. origins: those of browser pages that
    may read responses (CORS), as bytes; b"*": any. admits(call, head): a callable that raises the rejection of another request than an
    inference before its body comes, or None.
    """

    cdef HttpHandler infer, others
    cdef object admits
    cdef dict origins

    def __init__(self, infer not None, others not None, origins=(), admits=None):
        self.infer, self.others, self.admits = http_handler(infer), http_handler(others), admits
        self.origins = dict.fromkeys(origins)

    cdef int admit(self, Call call, Head head) except -1:
        if head.origin is not None and self.origins:
            self.allow_origin(head)
        if head.is_infer:
            return self.infer.admit(call, head)
        if self.admits is not None:
            self.admits(call, head)
        return 0

    cdef int take(self, Call call, Head head) except -1:
        if head.is_infer:
            return self.infer.take(call, head)
        return self.others.take(call, head)

    cdef int allow_origin(self, Head head) except -1:
        if PyDict_Contains(self.origins, b"*"):
            head.response_headers = ((b"access-control-allow-origin", b"*"),)
        elif PyDict_Contains(self.origins, head.origin):
            head.response_headers = ((b"access-control-allow-origin", head.origin), NOT_FOR_CACHES)
        else:
            head.response_headers = (NOT_FOR_CACHES,)
        return 0
