# raw: requests by REST whose tensors are there already. Never in here: JSON.

from inferd._core.grpc.message cimport Message
from inferd._core.http.head cimport Head
from inferd._core.rest.request cimport RestRequest
from inferd._core.tensor.signature cimport Signature

# Triton's raw binary request (Inference-Header-Content-Length: 0): the body is one row of the model's only input; outputs are binary.
# Raises InvalidArgument.
cdef RestRequest request_of_body(Message body, Head head, Signature signature)
