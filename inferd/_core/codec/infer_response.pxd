# infer_response: the outputs of a run as a ModelInferResponse. Never in here: how a request is read, how a message is sent.

from libc.stdint cimport int64_t
from inferd._core.batching.request cimport Request
from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.message cimport Message
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors

# The response to a request that wants all outputs, with its rows of them from first_row on. Raises Internal where the outputs are not those
# of the signature.
cdef Message encode_all(Request request, const Bytes *id, Tensors outputs, int64_t first_row)
# The same with asked_count outputs, as asked_output returns them; 0 or less: with all.
cdef Message encode_asked(Request request, const Bytes *id, const int *asked, int asked_count, Tensors outputs, int64_t first_row)
# The response with the fields that say what made it behind the others: protobuf's fields have no order.
cdef Message appended(Message response, Signature signature)
