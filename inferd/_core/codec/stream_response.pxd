# stream_response: ModelStreamInferResponse, a message of ModelStreamInfer's response. Never in here: streams, tensors.

from inferd._core.grpc.message cimport Message

# Puts a ModelInferResponse into one, in the room in front of it, and returns it. It must lie in a block of the pool.
cdef Message wrap_response(Message response)

# Says in band why a request was rejected, with its id and its model's name as far as they can be read.
cdef Message reject_response(Message request, str text)
