"""The asyncio client: the same calls as the blocking one, awaited. It belongs to the event loop of its first call."""

# ruff: noqa: ASYNC109  # a timeout here is gRPC's: it travels to the server, which asyncio.timeout cannot do

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf.message import Message

from inferd_client import calls, codec, messages
from inferd_client.calls import HealthStatus, Metadata, Options, Response, Rpc
from inferd_client.codec import Declared, InferResult, Parameter
from inferd_client.errors import InferenceError

__all__ = ["AsyncClient"]


class AsyncClient:
    """A connection to one server of the Open Inference Protocol, for asyncio.

        async with AsyncClient("localhost:8001", timeout=5) as client:
            answers = await asyncio.gather(*(client.infer("digits", {"image": image}) for image in images))

    The arguments and the errors are those of Client. Cancelling a call's task cancels the call at the server.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        options: Options = (),
    ) -> None:
        self._target = calls.checked_target(target)
        self._credentials = credentials
        self._options = [*calls.CHANNEL_OPTIONS, *options]
        self._timeout = timeout
        self._metadata = metadata
        self._declared: dict[tuple[str, str], dict[str, Declared]] = {}
        self._open: grpc.aio.Channel | None = None
        self._infer: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls that are under way are cancelled. May be called twice."""
        if self._open is not None:
            await self._open.close()

    def _channel(self) -> grpc.aio.Channel:
        """The channel, made at the first call: a channel belongs to the event loop that is running then."""
        if self._open is None:
            if self._credentials is None:
                self._open = grpc.aio.insecure_channel(self._target, options=self._options)
            else:
                self._open = grpc.aio.secure_channel(self._target, self._credentials, options=self._options)
            self._infer = self._open.unary_unary(calls.MODEL_INFER, request_serializer=None, response_deserializer=None)
        return self._open

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str | None = None,
        datatypes: Mapping[str, str] | None = None,
    ) -> InferResult:
        """One inference; the arguments are those of Client.infer."""
        declared = None
        if codec.wants_metadata(inputs, datatypes):
            declared = await self._declared_inputs(model, version, timeout, metadata)
        request = codec.encode_infer_request(
            model,
            inputs,
            version=version,
            outputs=outputs,
            datatypes=datatypes,
            declared=declared,
            parameters=parameters,
            request_id=request_id,
        )
        try:
            self._channel()
            answer = await self._infer(request, timeout=self._seconds(timeout), metadata=self._pairs(metadata))
        except grpc.RpcError as error:
            # A model that was loaded again may take something else now.
            self._declared.pop((model, version), None)
            raise InferenceError.from_rpc(error) from error
        return codec.decode_infer_response(answer)

    async def server_live(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server answers. Raises InferenceError(UNAVAILABLE) when nobody does."""
        return (await self._call(calls.SERVER_LIVE, messages.ServerLiveRequest(), timeout, metadata)).live

    async def server_ready(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server and its models are ready for requests."""
        return (await self._call(calls.SERVER_READY, messages.ServerReadyRequest(), timeout, metadata)).ready

    async def model_ready(self, model: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether a model (any version, or this one) is ready; False for unknown ones, too."""
        request = messages.ModelReadyRequest(name=model, version=version)
        return (await self._call(calls.MODEL_READY, request, timeout, metadata)).ready

    async def server_metadata(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> messages.ServerMetadataResponse:
        """The server's name, version and extensions."""
        return await self._call(calls.SERVER_METADATA, messages.ServerMetadataRequest(), timeout, metadata)

    async def model_metadata(
        self, model: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelMetadataResponse:
        """Names, datatypes and shapes (with the batch axis as -1) of a model's inputs and outputs."""
        request = messages.ModelMetadataRequest(name=model, version=version)
        return await self._call(calls.MODEL_METADATA, request, timeout, metadata)

    async def model_config(
        self, model: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelConfig:
        """The complete configuration that a model runs with. A Triton extension."""
        request = messages.ModelConfigRequest(name=model, version=version)
        return (await self._call(calls.MODEL_CONFIG, request, timeout, metadata)).config

    async def statistics(
        self, model: str = "", version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.ModelStatistics]:
        """Counts and durations of one model, or of all, one entry a version. A Triton extension."""
        request = messages.ModelStatisticsRequest(name=model, version=version)
        return list((await self._call(calls.MODEL_STATISTICS, request, timeout, metadata)).model_stats)

    async def repository_index(
        self, *, ready: bool = False, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.RepositoryIndexResponse.ModelIndex]:
        """Every model version that the repository knows, or only those that are ready. A Triton extension."""
        request = messages.RepositoryIndexRequest(ready=ready)
        return list((await self._call(calls.REPOSITORY_INDEX, request, timeout, metadata)).models)

    async def health(self, service: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> HealthStatus:
        """gRPC's standard health check of the server, or of a service or model by its name.

        Raises InferenceError(NOT_FOUND) for a name that the server does not know.
        """
        request = messages.HealthCheckRequest(service=service)
        answer = await self._call(calls.HEALTH_CHECK, request, timeout, metadata)
        return calls.health_status(answer)

    async def _call(self, rpc: Rpc[Response], request: Message, timeout: float | None, metadata: Metadata | None) -> Response:
        method: Any = self._channel().unary_unary(
            rpc.path, request_serializer=type(request).SerializeToString, response_deserializer=rpc.response.FromString
        )
        try:
            answer: Response = await method(request, timeout=self._seconds(timeout), metadata=self._pairs(metadata))
        except grpc.RpcError as error:
            raise InferenceError.from_rpc(error) from error
        return answer

    async def _declared_inputs(self, model: str, version: str, timeout: float | None, metadata: Metadata | None) -> Mapping[str, Declared]:
        """What the model takes, by name, asked for once."""
        known = self._declared.get((model, version))
        if known is None:
            answer = await self.model_metadata(model, version, timeout=timeout, metadata=metadata)
            known = self._declared[model, version] = codec.declared_inputs(answer)
        return known

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

    def _pairs(self, metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...] | None:
        return calls.metadata_pairs(self._metadata, metadata)
