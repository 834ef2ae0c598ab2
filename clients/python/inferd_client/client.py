"""The blocking client. Safe to share between threads; one client is one HTTP/2 connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from inferd_client import calls, codec, messages
from inferd_client.calls import HealthStatus, Metadata, Options, Response, Rpc
from inferd_client.codec import Declared, InferResult, Parameter
from inferd_client.errors import InferenceError

__all__ = ["Client"]


class Client:
    """A connection to one server of the Open Inference Protocol.

        with Client("localhost:8001", timeout=5) as client:
            probabilities = client.infer("digits", {"image": image})["probabilities"]

    target:       "host:port", "[::1]:8001", "unix:path" or whatever else gRPC resolves.
    credentials:  grpc.ssl_channel_credentials(...) for TLS; None: plain text.
    timeout:      seconds that a call may take when it names none itself; None: as long as it takes.
    metadata:     sent with every call, before the call's own.
    options:      gRPC channel arguments, besides message sizes without a limit.

    The connection is opened by the first call. Calls raise InferenceError when the server refuses or cannot be
    reached; TypeError and ValueError when an argument cannot be sent at all.
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
        target = calls.checked_target(target)
        arguments = [*calls.CHANNEL_OPTIONS, *options]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=arguments)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=arguments)
        self._timeout = timeout
        self._metadata = metadata
        self._infer: Any = self._channel.unary_unary(calls.MODEL_INFER, request_serializer=None, response_deserializer=None)
        self._declared: dict[tuple[str, str], dict[str, Declared]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls that are under way end with CANCELLED. May be called twice."""
        self._channel.close()

    def infer(
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
        """One inference. Shapes include the batch axis where the model has one: four images are (4, 3, 224, 224).

        inputs:      name -> numpy array, whose dtype must be the model's; or a (nested) list or number, which is
                     converted to the datatype that the model's metadata names (asked for once and remembered).
                     BYTES are arrays of object, bytes or str; BF16 is ml_dtypes.bfloat16. What files(), texts() and
                     records() make is sent in the shape that the metadata names.
        outputs:     the outputs wanted; None: all.
        version:     empty: the newest.
        timeout:     seconds; the server does not run a request whose time is up.
        parameters:  request parameters such as {"priority": 1}.
        datatypes:   input name -> datatype word where it does not follow from the array: {"x": "BF16"} sends a uint16
                     array as the bits of BF16.
        """
        declared = None
        if codec.wants_metadata(inputs, datatypes):
            declared = self._declared_inputs(model, version, timeout, metadata)
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
            answer = self._infer(request, timeout=self._seconds(timeout), metadata=self._pairs(metadata))
        except grpc.RpcError as error:
            # A model that was loaded again may take something else now.
            self._declared.pop((model, version), None)
            raise InferenceError.from_rpc(error) from error
        return codec.decode_infer_response(answer)

    def server_live(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server answers. Raises InferenceError(UNAVAILABLE) when nobody does."""
        return self._call(calls.SERVER_LIVE, messages.ServerLiveRequest(), timeout, metadata).live

    def server_ready(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server and its models are ready for requests."""
        return self._call(calls.SERVER_READY, messages.ServerReadyRequest(), timeout, metadata).ready

    def model_ready(self, model: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether a model (any version, or this one) is ready; False for unknown ones, too."""
        request = messages.ModelReadyRequest(name=model, version=version)
        return self._call(calls.MODEL_READY, request, timeout, metadata).ready

    def server_metadata(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> messages.ServerMetadataResponse:
        """The server's name, version and extensions."""
        return self._call(calls.SERVER_METADATA, messages.ServerMetadataRequest(), timeout, metadata)

    def model_metadata(
        self, model: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelMetadataResponse:
        """Names, datatypes and shapes (with the batch axis as -1) of a model's inputs and outputs."""
        request = messages.ModelMetadataRequest(name=model, version=version)
        return self._call(calls.MODEL_METADATA, request, timeout, metadata)

    def model_config(
        self, model: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelConfig:
        """The complete configuration that a model runs with. A Triton extension."""
        request = messages.ModelConfigRequest(name=model, version=version)
        return self._call(calls.MODEL_CONFIG, request, timeout, metadata).config

    def statistics(
        self, model: str = "", version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.ModelStatistics]:
        """Counts and durations of one model, or of all, one entry a version. A Triton extension."""
        request = messages.ModelStatisticsRequest(name=model, version=version)
        return list(self._call(calls.MODEL_STATISTICS, request, timeout, metadata).model_stats)

    def repository_index(
        self, *, ready: bool = False, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.RepositoryIndexResponse.ModelIndex]:
        """Every model version that the repository knows, or only those that are ready. A Triton extension."""
        request = messages.RepositoryIndexRequest(ready=ready)
        return list(self._call(calls.REPOSITORY_INDEX, request, timeout, metadata).models)

    def health(self, service: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> HealthStatus:
        """gRPC's standard health check of the server, or of a service or model by its name.

        Raises InferenceError(NOT_FOUND) for a name that the server does not know.
        """
        request = messages.HealthCheckRequest(service=service)
        answer = self._call(calls.HEALTH_CHECK, request, timeout, metadata)
        return calls.health_status(answer)

    def _call(self, rpc: Rpc[Response], request: Message, timeout: float | None, metadata: Metadata | None) -> Response:
        method = self._channel.unary_unary(
            rpc.path, request_serializer=type(request).SerializeToString, response_deserializer=rpc.response.FromString
        )
        try:
            answer: Response = method(request, timeout=self._seconds(timeout), metadata=self._pairs(metadata))
        except grpc.RpcError as error:
            raise InferenceError.from_rpc(error) from error
        return answer

    def _declared_inputs(self, model: str, version: str, timeout: float | None, metadata: Metadata | None) -> Mapping[str, Declared]:
        """What the model takes, by name, asked for once."""
        known = self._declared.get((model, version))
        if known is None:
            answer = self.model_metadata(model, version, timeout=timeout, metadata=metadata)
            known = self._declared[model, version] = codec.declared_inputs(answer)
        return known

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

    def _pairs(self, metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...] | None:
        return calls.metadata_pairs(self._metadata, metadata)
