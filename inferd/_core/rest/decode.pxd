# decode: the body of POST .../infer as a request. Never in here: HTTP, what a model takes, responses.

from inferd._core.grpc.message cimport Message
from inferd._core.http.head cimport Head
from inferd._core.rest.request cimport RestRequest

# A request from its body. None: it is so long that parsing it belongs on a thread, and at_once is set. Raises InvalidArgument,
# and ResourceExhausted where there is no memory.
cdef RestRequest decode_rest(Message body, Head head, bint at_once)
