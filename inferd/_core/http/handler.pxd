# handler: serves HTTP requests, as grpc/call's InferHandler serves RPCs.
# Never in here: transports, the meaning of bodies.

from inferd._core.grpc.call cimport Call
from inferd._core.http.head cimport Head

cdef class HttpHandler:
    # The head has come, and is right. Before the token is looked at: it may set head.response_headers, and raises a rejection that tells
    # nothing of what this server has. By default there is none.
    cdef int screen(self, Call call, Head head) except -1
    # The token is right; the body may follow. Raises the rejection, so that no body is read in vain. By default all is admitted.
    cdef int admit(self, Call call, Head head) except -1
    # The body is whole, in call.message, which may be empty. The response goes to the call, now or later: reply(message) with an inference
    # response, fail(error), or respond(status, headers, body) with anything else. Raises the call's rejection.
    cdef int take(self, Call call, Head head) except -1

# `handler` itself if it is one, else a handler that calls it with call and head.
cdef HttpHandler http_handler(handler)
