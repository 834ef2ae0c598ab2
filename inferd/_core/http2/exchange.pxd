# exchange: what a REST call on an HTTP/2 stream has beside a gRPC call: the head of its request, and the headers of its response.
# Never in here: bodies, frames that come, what a path means.

cimport cython
from libc.stdint cimport int32_t
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport Head
from inferd._core.http2.nghttp2 cimport nghttp2_data_provider2, nghttp2_session

@cython.final
cdef class Exchange:
    cdef Head head
    cdef HttpHandler handler            # serves the request
    cdef bytes target                   # :path as it came
    cdef bint is_host_known             # the head has :authority
    cdef int status                     # of the response
    cdef tuple headers                  # of the response, beside those that submit() knows: pairs of bytes; None: an inference response
    # The response is an error's. Returns its body.
    cdef bytes describe(self, error)
    # Whether the response has no body, whatever the handler says.
    cdef bint is_bodiless(self) noexcept
    # Submits the response's HEADERS. nbytes: of its body, as it is sent, compressed or not. varies: that depends on the client. provider:
    # gives its bytes; NULL: none are sent.
    cdef int submit(self, nghttp2_session *session, int32_t stream_id, Py_ssize_t nbytes, bint compressed, bint varies,
                    nghttp2_data_provider2 *provider) except -1
    # Submits HEADERS with 100: the client may send the body.
    cdef int submit_continue(self, nghttp2_session *session, int32_t stream_id) except -1
