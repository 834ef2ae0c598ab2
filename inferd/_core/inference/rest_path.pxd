# rest_path: the path of a request that came by REST. Only its bytes differ from those of ModelInfer (path.pxd).

from inferd._core.grpc.call cimport Call
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http.head cimport Head
from inferd._core.inference.path cimport Route
from inferd._core.inference.routes cimport Routes
from inferd._core.rest.request cimport RestRequest

cdef class RestInfer(HttpHandler):
    cdef Routes routes          # the models that are served
    cdef object find            # find(name, version): a Route that the table does not have; raises why there is none
    cdef public object wait     # wait(call, request): whether it waits for its model, to come back as from unpack; None: none waits
    cdef public object unpack   # unpack(call, head): parses its body on a thread, and calls this object again with the request
    # raw(call, head): whether it takes a body that is no request in JSON: a picture, a sentence, a record. None: nothing does.
    cdef public object raw
    cdef int rest_infer(self, Call call, Head head, RestRequest request) except -1
    cdef RestRequest decode(self, Call call, Head head, found)
    cdef Route find_or_wait(self, Call call, RestRequest request)
