"""A server in this process that responses with what it was sent, written with protobuf and grpcio alone.

It stands for any server of the protocol and is the client's oracle: nothing of the client's codec is in it. Its models:

    echo     every input comes back as the output of the same name, raw
    typed    the same, in typed contents
    full     RESOURCE_EXHAUSTED, to be tried again after 1.5 s
    vague    RESOURCE_EXHAUSTED with details that no one can read
    slow     never answers
    garbled  bytes that are no message
    short    an output with fewer bytes than its shape says

`rejections` holds what the next inferences are rejected with, whatever their model.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import grpc
from inferd_client import AsyncClient, Client, messages

SERVICE = "/inference.GRPCInferenceService/"
GATE_S = 120  # far longer than any test waits: a call that ends sooner was ended by somebody

TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Rejection(NamedTuple):
    """A status for an inference, and after how many seconds to come back, where it says so."""

    code: grpc.StatusCode
    retry_after: float | None = None


class EchoServer:
    """Listens on a free loopback port, with TLS where it gets credentials, on a Unix socket and on an abstract one; remembers what came."""

    def __init__(self, folder: Path, credentials: grpc.ServerCredentials | None = None) -> None:
        self.infer_calls = 0
        self.remaining: float | None = None  # seconds that the last inference had left when it came
        self.rejections: deque[Rejection] = deque()
        self.gate = threading.Event()  # while it is not set, inferences wait
        self.gate.set()
        self.peer: dict[str, Any] = {}  # who asked last, as its certificate says
        self.metadata: dict[str, str | bytes] = {}  # of the last inference
        self.request: Any = None  # the last inference
        self.metadata_calls = 0
        self.ready = True
        self.datatype, self.shape = "FP32", [-1]  # of the only input in the metadata, "x"
        self.arrived = threading.Event()  # a caller of `slow` has come, or one is at the gate
        self.cancelled = threading.Event()  # a caller of `slow`, or one at the gate, has gone
        self.typed: list[Any] = []  # what `typed` answers in the only output's contents
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((_Router(self),))
        self.unix_target = f"unix:{folder / 'echo.sock'}"
        self.server.add_insecure_port(self.unix_target)
        self.abstract_name = f"inferd-{secrets.token_hex(8)}"
        self.server.add_insecure_port(f"unix-abstract:{self.abstract_name}")
        anywhere = "127.0.0.1:0"
        port = self.server.add_secure_port(anywhere, credentials) if credentials else self.server.add_insecure_port(anywhere)
        self.target = f"127.0.0.1:{port}"
        self.server.start()

    def stop(self) -> None:
        self.gate.set()
        self.server.stop(None).wait(10)

    def infer(self, serialized: bytes, context: grpc.ServicerContext) -> bytes:
        request = messages.ModelInferRequest.FromString(serialized)
        self.request = request
        self.metadata = dict(context.invocation_metadata())
        self.infer_calls += 1
        self.remaining = context.time_remaining()
        self.peer = dict(context.auth_context())
        self.wait_at_the_gate(context)
        if self.rejections:
            reject(context, self.rejections.popleft(), "rejected for a test")
        response = messages.ModelInferResponse(model_name=request.model_name, model_version=request.model_version or "1", id=request.id)
        for name, value in request.parameters.items():
            response.parameters[name].CopyFrom(value)
        wanted = {output.name for output in request.outputs} or {tensor.name for tensor in request.inputs}
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            if tensor.name in wanted:
                response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
                response.raw_output_contents.append(raw)
        match request.model_name:
            case "echo":
                pass
            case "typed":
                del response.raw_output_contents[:]
                getattr(response.outputs[0].contents, TYPED.get(request.inputs[0].datatype, "int_contents")).extend(self.typed)
            case "full":
                reject(context, Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, 1.5), "the queue is full: ümlaut")
            case "vague":
                context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full: ümlaut")
            case "slow":
                context.add_callback(self.cancelled.set)
                self.arrived.set()
                self.cancelled.wait(GATE_S)
            case "garbled":
                return b"\x0a\xff"
            case "short":
                response.raw_output_contents[0] = response.raw_output_contents[0][:-1]
            case _:
                context.abort(grpc.StatusCode.NOT_FOUND, f'there is no model "{request.model_name}"')
        return response.SerializeToString()

    def wait_at_the_gate(self, context: grpc.ServicerContext) -> None:
        if not self.gate.is_set() and context.add_callback(self.cancelled.set):  # who has gone already is at no gate
            self.arrived.set()
            self.gate.wait(GATE_S)

    def model_metadata(self, serialized: bytes, context: grpc.ServicerContext) -> bytes:
        request = messages.ModelMetadataRequest.FromString(serialized)
        self.metadata_calls += 1
        if request.name == "garbled":
            return b"\x0a\xff"
        response = messages.ModelMetadataResponse(name=request.name, versions=["1"], platform="echo")
        response.inputs.add(name="x", datatype=self.datatype, shape=self.shape)
        return response.SerializeToString()

    def health(self, serialized: bytes, context: grpc.ServicerContext) -> bytes:
        service = messages.HealthCheckRequest.FromString(serialized).service
        if service not in ("", "echo", "new"):
            context.abort(grpc.StatusCode.NOT_FOUND, f'there is no service "{service}"')
        status = messages.HealthCheckResponse.SERVING if service else messages.HealthCheckResponse.NOT_SERVING
        return b"\x08\x63" if service == "new" else messages.HealthCheckResponse(status=status).SerializeToString()

    def methods(self) -> dict[str, Callable[[bytes, grpc.ServicerContext], bytes]]:
        def fixed(response: Any) -> Callable[[bytes, grpc.ServicerContext], bytes]:
            return lambda _request, _context: bytes(response.SerializeToString())

        def model_ready(serialized: bytes, _context: grpc.ServicerContext) -> bytes:
            request = messages.ModelReadyRequest.FromString(serialized)
            return messages.ModelReadyResponse(ready=request.name == "echo" and request.version in ("", "1")).SerializeToString()

        def index(serialized: bytes, _context: grpc.ServicerContext) -> bytes:
            response = messages.RepositoryIndexResponse()
            response.models.add(name="echo", version="1", state="READY")
            if not messages.RepositoryIndexRequest.FromString(serialized).ready:
                response.models.add(name="old", version="1", state="UNAVAILABLE", reason="broken")
            return response.SerializeToString()

        return {
            SERVICE + "ServerLive": fixed(messages.ServerLiveResponse(live=True)),
            SERVICE + "ServerReady": lambda _, context: messages.ServerReadyResponse(ready=self.ready).SerializeToString(),
            SERVICE + "ServerMetadata": fixed(messages.ServerMetadataResponse(name="echo", version="7", extensions=["statistics"])),
            SERVICE + "ModelReady": model_ready,
            SERVICE + "ModelMetadata": self.model_metadata,
            SERVICE + "ModelInfer": self.infer,
            SERVICE + "ModelConfig": fixed(messages.ModelConfigResponse(config=messages.ModelConfig(name="echo", max_batch_size=8))),
            SERVICE + "ModelStatistics": fixed(
                messages.ModelStatisticsResponse(model_stats=[messages.ModelStatistics(name="echo", version="1", inference_count=3)])
            ),
            SERVICE + "RepositoryIndex": index,
            "/grpc.health.v1.Health/Check": self.health,
        }


def reject(context: grpc.ServicerContext, rejection: Rejection, message: str) -> NoReturn:
    if rejection.retry_after is not None:
        seconds, rest = divmod(rejection.retry_after, 1)
        delay = messages.Duration(seconds=int(seconds), nanos=round(rest * 1e9))
        status = messages.Status(code=rejection.code.value[0], message="the queue is full")
        retry = messages.RetryInfo(retry_delay=delay).SerializeToString()
        status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(rejection.code, message)


class _Router(grpc.GenericRpcHandler):
    def __init__(self, server: EchoServer) -> None:
        self.methods = server.methods()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        method = self.methods.get(details.method)
        return method and grpc.unary_unary_rpc_method_handler(method)


class Awaited:
    """A client of either kind with every method awaited, so that one test body serves both."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **keywords: Any) -> Any:
            result = getattr(self.client, name)(*arguments, **keywords)
            return await result if inspect.isawaitable(result) else result

        return call

    def begin(self, name: str, *arguments: Any, **keywords: Any) -> asyncio.Future[Any]:
        """Begins a call that is awaited later: as a task, or on a thread."""
        method = getattr(self.client, name)
        if isinstance(self.client, AsyncClient):
            return asyncio.ensure_future(method(*arguments, **keywords))
        return asyncio.ensure_future(asyncio.to_thread(method, *arguments, **keywords))
