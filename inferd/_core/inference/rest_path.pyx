# cython: language_level=3
"""rest_path: the path of a request that came by REST (see rest_path.pxd).

body -> transport -> rest_infer: decode, route, check, submit -> (queue) -> run_batch -> deliver -> transport
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.message cimport Message
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport Head
from inferd._core.inference.path cimport Route
from inferd._core.inference.routes cimport Routes
from inferd._core.rest.decode cimport decode_rest
from inferd._core.rest.raw cimport request_of_body
from inferd._core.rest.request cimport RestRequest

from inferd.errors import NoInputs

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef enum:
    MAX_LEADING_NBYTES = 1024           # of white space before the JSON of a body that may be something else

# Content types of a request in JSON; the last is what curl says of itself.
cdef frozenset JSON_TYPES = frozenset((None, b"application/json", b"text/json", b"application/octet-stream",
                                       b"application/x-www-form-urlencoded"))


cdef inline Bytes bytes_of(bytes text) noexcept:
    cdef Bytes found
    found.data, found.nbytes = PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
    return found


cdef inline bint begins_with_brace(Message body) noexcept:
    cdef Py_ssize_t i
    for i in range(min(body.nbytes, <Py_ssize_t>MAX_LEADING_NBYTES)):
        if body.data[i] not in b" \t\r\n":
            return body.data[i] == c'{'
    return False


cdef class RestInfer(HttpHandler):
    """POST /v2/models/NAME[/versions/VERSION]/infer."""

    def __init__(self, Routes routes not None, find not None):
        self.routes, self.find = routes, find

    def go_on(self, Call call not None, RestRequest request not None):
        """A request that was decoded elsewhere, or has waited for its model, goes its way."""
        self.rest_infer(call, request.head, request)

    cdef int take(self, Call call, Head head) except -1:
        return self.rest_infer(call, head, None)

    cdef int rest_infer(self, Call call, Head head, RestRequest request) except -1:
        """One inference: rejected here by an exception, or queued; the response goes to the call when its batch has run.
        request: its decoded body, if a thread has decoded it."""
        cdef Bytes name = bytes_of(head.model_name)
        cdef Bytes version = bytes_of(head.model_version)
        cdef Route route
        found = self.routes.get(&name, &version)
        if request is None:
            request = self.decode(call, head, found)
            if request is None:
                return 0
        route = <Route>found if found is not None else self.find_or_wait(call, request)     # the table holds nothing but routes
        if route is None:
            return 0
        if route.split is not None and version.nbytes == 0:
            call.key = head.key or request.key      # tallies count by it
            if route.split.takes(call.key):
                route = <Route>route.split.candidate
        route.check(request)
        request.loop_thread = PyThread_get_thread_ident()
        route.submit(request, call)
        return 0

    cdef RestRequest decode(self, Call call, Head head, found):
        """found: the Route of its model, or None. Returns None where another has the call now."""
        cdef RestRequest request
        if head.json_nbytes == 0:
            if found is None and self.raw is not None and self.raw(call, head):
                return None
            if found is None:
                found = self.find(head.model_name.decode(), head.model_version.decode())
            return request_of_body(call.message, head, (<Route?>found).signature)
        if self.raw is not None and head.json_nbytes < 0 and not (head.content_type in JSON_TYPES and begins_with_brace(call.message)) \
                and self.raw(call, head):
            return None
        try:
            request = decode_rest(call.message, head, True)
        except NoInputs:
            if self.raw is None or not self.raw(call, head):
                raise
            return None
        if request is None:
            self.unpack(call, head)
        return request

    cdef Route find_or_wait(self, Call call, RestRequest request):
        """The rare case, where the table has no such model or version. None: the request waits."""
        if self.wait is not None and self.wait(call, request):
            return None
        return self.find(request.model_name, request.model_version)
