"""Responses to methods of the protocol that inferd does not serve, on every transport. Never in here: methods that it serves.

Most get a status. Triton's C++ client waits on a stream for one response to each request and overlooks a status that ends it, so
ModelStreamInfer, a method of the service table for that alone, says the same in band first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd._core.codec.infer import decode_infer_request
from inferd.errors import Unimplemented
from inferd.protocol import inference
from inferd.serving.method import Method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from inferd._core.codec.infer import InferRequest

__all__ = ["stream_infer_method", "unserved"]

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
MAX_STREAMS = 16  # of one connection
MAX_ANSWERED = 64  # requests of a stream that have an error in band each, as clients with several in flight want it
MAX_STREAMED_BYTES = 1 << 20  # of one request on such a stream; a larger one ends it with a status

MAX_NAME_CHARS = 256  # of the method's name that the response repeats

# Methods of the protocol that clients know and inferd does not have, and what serves instead.
INSTEAD = {
    "ModelStreamInfer": "send each request with ModelInfer; many can be open on one connection",
    "RepositoryModelLoad": "name the models when the server is started",
    "RepositoryModelUnload": "start the server without the model",
    "SystemSharedMemoryStatus": "send tensors in raw_input_contents",
    "SystemSharedMemoryRegister": "send tensors in raw_input_contents",
    "SystemSharedMemoryUnregister": "send tensors in raw_input_contents",
    "CudaSharedMemoryStatus": "send tensors in raw_input_contents",
    "CudaSharedMemoryRegister": "send tensors in raw_input_contents",
    "CudaSharedMemoryUnregister": "send tensors in raw_input_contents",
    "TraceSetting": "read the durations of each stage from ModelStatistics or /metrics",
    "LogSettings": "set log_level when the server is started",
}


def unserved(method: str) -> Unimplemented:
    """The rejection of a full method name, such as "/inference.GRPCInferenceService/ModelStreamInfer"."""
    service, _, name = method.rpartition("/")
    if service == "/inference.GRPCInferenceService" and name in INSTEAD:
        return Unimplemented(f"{name} is not built into this server: {INSTEAD[name]}")
    return Unimplemented(
        f'there is no method "{method[:MAX_NAME_CHARS]}": expected one of inference.GRPCInferenceService, grpc.health.v1.Health '
        f"or grpc.reflection.v1.ServerReflection; the reflection service lists them"
    )


class StreamedRequest:
    """A request of a stream as far as it is looked at. None: its typed contents are long, and nobody needs them."""

    DESCRIPTOR = inference.ModelInferRequest.DESCRIPTOR

    @staticmethod
    def FromString(content: bytes) -> InferRequest | None:  # noqa: N802  # as protobuf's classes have it
        return decode_infer_request(content, True)


async def reject_stream(requests: AsyncIterator[InferRequest | None]) -> AsyncIterator[inference.ModelStreamInferResponse]:
    """One error in band for each of the first requests, and the status: once the client has sent all, or more than those."""
    error = unserved(STREAM_INFER)
    left = MAX_ANSWERED
    async for request in requests:
        response = inference.ModelStreamInferResponse(error_message=str(error))
        if request is not None:
            response.infer_response.model_name = request.model_name
            response.infer_response.id = request.id
        yield response
        left -= 1
        if left == 0:
            break
    raise error


def stream_infer_method() -> dict[str, Method]:
    """The row of the service table, by full method name."""
    row = Method(
        "stream",
        reject_stream,
        StreamedRequest,
        inference.ModelStreamInferResponse,
        max_request_nbytes=MAX_STREAMED_BYTES,
        max_open=MAX_STREAMS,
    )
    return {STREAM_INFER: row}
