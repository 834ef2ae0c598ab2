# response_headers: submits the HEADERS and trailers of gRPC's responses to libnghttp2, statuses among them.
# Never in here: messages, the state of a call, responses of REST (exchange).

from libc.stdint cimport int32_t
from inferd._core.http2.nghttp2 cimport nghttp2_data_provider2, nghttp2_session

# Begins a response. encoding: of its messages; None: they are not compressed. provider: gives its bytes.
cdef void submit_headers(nghttp2_session *session, int32_t stream_id, bytes encoding, nghttp2_data_provider2 *provider) noexcept
# Trailers-only: the whole response is one HEADERS frame with the status of this RequestError. Returns how many bytes it has charged to the
# message memory: the caller gives them back when the stream closes.
cdef Py_ssize_t submit_status(nghttp2_session *session, int32_t stream_id, error) except -1
# Ends a response. error: the RequestError that it ends with; None: OK.
cdef void submit_trailers(nghttp2_session *session, int32_t stream_id, error) noexcept
