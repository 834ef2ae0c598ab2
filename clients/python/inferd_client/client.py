"""The blocking client. Safe to share between threads. A client has one HTTP/2 connection to each address of gRPC, and to each URL as many
connections as calls at one time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from inferd_client import calls, codec, messages, security
from inferd_client.balance import Balance
from inferd_client.calls import HealthStatus, Metadata, Pairs, Response, Rpc
from inferd_client.codec import Declared, InferResult, Parameter, version_text
from inferd_client.connection import Compression, Options, connection
from inferd_client.errors import InferenceError
from inferd_client.retry import DEFAULT, NEVER, Retry
from inferd_client.security import TLS
from inferd_client.sender import Sender

__all__ = ["Client"]


class Client:
    """A connection to a server of the Open Inference Protocol, or one to each of several that serve the same.

        with Client("localhost:8001", timeout=5) as client:
            probabilities = client.infer("digits", {"image": image})["probabilities"]

    target:              "host:port", "[::1]:8001", "unix:path", "unix:@name" (an abstract one) or another name that gRPC resolves.
                         For HTTP a URL: "http://host:8000", "https://host/prefix", "http+unix:/path". Several share the calls.
    tls:                 TLS(...); None: plain text, and of an https:// URL the system's authorities count.
    credentials:         grpc's own, in the place of tls.
    token:               sent as a bearer token; or a function that returns it, called for each call. Without TLS a token, or an
                         `authorization` in metadata, may go to loopback and Unix sockets only.
    token_in_plaintext:  True lets a token go anywhere without TLS.
    timeout:             seconds that a call may take when it names none itself, repetitions included; None: as long as it takes.
    metadata:            sent with every call, before the call's own.
    retry:               when a call that failed is sent again; None: never.
    balance:             of several addresses: "round_robin", or "least_in_flight".
    hedge_after:         seconds without a response after which the request is sent to another address, too; the first response
                         counts. None: it is not.
    compression:         of requests: "gzip" or "deflate". None: they go as they are, which is faster except on a slow network.
    options:             gRPC channel arguments, besides those of inferd_client.connection.

    Connections are opened by the first call. Calls raise InferenceError when the server rejects them or cannot be
    reached, and TypeError and ValueError when an argument cannot be sent at all.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        tls: TLS | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | Callable[[], str] | None = None,
        token_in_plaintext: bool = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        retry: Retry | None = DEFAULT,
        balance: Balance = "round_robin",
        hedge_after: float | None = None,
        compression: Compression | None = None,
        options: Options = (),
    ) -> None:
        servers = connection(
            target,
            credentials=credentials,
            tls=tls,
            token=token,
            token_in_plaintext=token_in_plaintext,
            metadata=metadata,
            compression=compression,
            options=options,
        )
        self._sender = Sender(servers, retry=NEVER if retry is None else retry, balance=balance, hedge_after=hedge_after)
        self._servers = servers
        self._token = token
        self._timeout = calls.checked_timeout(timeout)
        self._metadata = metadata
        self._declared: dict[tuple[str, str | int], dict[str, Declared]] = {}

    def __repr__(self) -> str:
        return f"<Client of {self._servers}{', closed' if self._sender.is_closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Calls that are under way, and later ones, raise InferenceError(CANCELLED). May be called twice."""
        self._sender.close()

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str | int = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str | None = None,
        datatypes: Mapping[str, str] | None = None,
        cast: bool = False,
    ) -> InferResult:
        """One inference. Shapes include the batch axis where the model has one: four images are (4, 3, 224, 224).

        inputs:      name -> numpy array, whose dtype should be the model's; or a (nested) list or number. Lists and numbers are
                     converted to the datatype in the model's metadata, which is asked for once. An array that the server
                     rejects for its datatype is converted and sent again where no value changes.
                     BYTES are arrays of object, bytes or str; BF16 is ml_dtypes.bfloat16. Results of files(), texts() and
                     records() are sent in the shape that the metadata names.
        outputs:     the outputs wanted; None: all.
        version:     a number or a label, 3 or "stable"; empty: the newest, or the label stable.
        timeout:     seconds; the server does not run a request whose time is up.
        parameters:  request parameters such as {"priority": 1}.
        datatypes:   input name -> datatype word where it does not follow from the array: {"x": "BF16"} sends a uint16
                     array as the bits of BF16.
        cast:        arrays are converted to the model's datatype also where values are rounded or lose their fraction.
        """
        until = self._until(timeout)
        encode = partial(
            codec.encode_infer_request,
            model,
            inputs,
            version=version,
            outputs=outputs,
            datatypes=datatypes,
            parameters=parameters,
            request_id=request_id,
            cast=cast,
        )
        declared: Mapping[str, Declared] | None = self._declared.get((model, version))
        try:
            if declared is None and (cast or codec.wants_metadata(inputs, datatypes)):
                declared = self._declared_inputs(model, version, until, metadata)
            return self._infer(encode(declared=declared), until, metadata, parameters)
        except (InferenceError, TypeError, ValueError) as error:
            # A model that was loaded again may take something else now.
            self._declared.pop((model, version), None)
            if declared is not None or not calls.may_be_datatype(error):
                raise
            with suppress(InferenceError):
                declared = self._declared_inputs(model, version, until, metadata)
            if declared is None or not codec.differs(inputs, datatypes, declared):
                raise
        return self._infer(encode(declared=declared), until, metadata, parameters)

    def _infer(
        self, request: bytes, until: float | None, metadata: Metadata | None, parameters: Mapping[str, Parameter] | None
    ) -> InferResult:
        pairs = self._pairs(metadata)
        response = self._sender.call(calls.MODEL_INFER, request, until, pairs, repeatable=calls.is_repeatable(parameters))
        return codec.decode_infer_response(response)

    def server_live(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server is live. Raises InferenceError(UNAVAILABLE) when it cannot be reached."""
        return self._call(calls.SERVER_LIVE, messages.ServerLiveRequest(), timeout, metadata).live

    def server_ready(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server and its models are ready for requests."""
        return self._call(calls.SERVER_READY, messages.ServerReadyRequest(), timeout, metadata).ready

    def wait_ready(self, model: str = "", version: str | int = "", *, timeout: float = 60.0, metadata: Metadata | None = None) -> None:
        """Waits until the server and its models are ready, or this one model is. timeout: seconds.

        Raises InferenceError(DEADLINE_EXCEEDED) that says what was last seen. It waits for a server that cannot be reached yet, and raises
        every other error.
        """
        until = monotonic() + timeout
        while True:
            left = max(until - monotonic(), 0.0)
            try:
                ready = (
                    self.model_ready(model, version, timeout=left, metadata=metadata)
                    if model
                    else self.server_ready(timeout=left, metadata=metadata)
                )
                seen = "it responds, and is not ready"
            except InferenceError as error:
                if error.code not in calls.NOT_YET:
                    raise
                ready, seen = False, error.message
            if ready:
                return
            if monotonic() + calls.READY_PAUSE_S >= until:
                raise calls.not_ready(model, self._servers, timeout, seen)
            self._sender.pause(calls.READY_PAUSE_S)

    def model_ready(self, model: str, version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether a model (any version, or this one) is ready; False for unknown ones, too."""
        request = messages.ModelReadyRequest(name=model, version=version_text(version))
        return self._call(calls.MODEL_READY, request, timeout, metadata).ready

    def server_metadata(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> messages.ServerMetadataResponse:
        """The server's name, version and extensions."""
        return self._call(calls.SERVER_METADATA, messages.ServerMetadataRequest(), timeout, metadata)

    def model_metadata(
        self, model: str, version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelMetadataResponse:
        """Names, datatypes and shapes (with the batch axis as -1) of a model's inputs and outputs."""
        request = messages.ModelMetadataRequest(name=model, version=version_text(version), properties=True)
        return self._call(calls.MODEL_METADATA, request, timeout, metadata)

    def model_config(
        self, model: str, version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelConfig:
        """The complete configuration that a model runs with. A Triton extension."""
        request = messages.ModelConfigRequest(name=model, version=version_text(version))
        return self._call(calls.MODEL_CONFIG, request, timeout, metadata).config

    def statistics(
        self, model: str = "", version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.ModelStatistics]:
        """Counts and durations of one model, or of all, one entry a version. A Triton extension."""
        request = messages.ModelStatisticsRequest(name=model, version=version_text(version))
        return list(self._call(calls.MODEL_STATISTICS, request, timeout, metadata).model_stats)

    def repository_index(
        self, *, ready: bool = False, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.RepositoryIndexResponse.ModelIndex]:
        """Every model version that the repository knows, or only those that are ready. A Triton extension."""
        request = messages.RepositoryIndexRequest(ready=ready)
        return list(self._call(calls.REPOSITORY_INDEX, request, timeout, metadata).models)

    def load_model(
        self,
        model: str,
        *,
        version: int | None = None,
        config: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Loads a model, or takes its files as they are now; the call ends when it is ready. A Triton extension.

        version: this one beside those that are served; Triton does not know it. config: a model configuration as JSON.
        """
        self._control(calls.load_request(model, version, config), timeout, metadata)

    def unload_model(
        self, model: str, *, version: int | None = None, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Unloads a model, or one of its versions, once the requests that it has are done. A Triton extension."""
        self._control(calls.unload_request(model, version), timeout, metadata)

    def report_labels(
        self, model: str, labels: calls.Labels, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> dict[str, int]:
        """Sends labels of earlier requests to a server that keeps its predictions (inferd, --feedback). Returns how many had which fate:
        joined, repeated, contradictory, misfit, late, waiting, unknown. They may be sent again: each counts once.

        labels: by request id, or tuples (request id, row, label). A label is a class as text, or a number. timeout: of each message of
        1,000 labels.
        """
        fates: dict[str, int] = {}
        for request in calls.label_requests(model, labels):
            told = self._call(calls.REPORT_LABELS, request, timeout, metadata)
            for field, count in told.ListFields():
                fates[field.name] = fates.get(field.name, 0) + int(count)
        return fates

    def models(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> list[str]:
        """Names of the models that are ready, sorted. A Triton extension."""
        return sorted({entry.name for entry in self.repository_index(ready=True, timeout=timeout, metadata=metadata)})

    def health(self, service: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> HealthStatus:
        """gRPC's standard health check of the server, or of a service or model by its name.

        Raises InferenceError(NOT_FOUND) for a name that the server does not know.
        """
        request = messages.HealthCheckRequest(service=service)
        response = self._call(calls.HEALTH_CHECK, request, timeout, metadata)
        return calls.health_status(response)

    def _control(self, order: calls.Order, timeout: float | None, metadata: Metadata | None) -> None:
        until, pairs = self._until(timeout), self._pairs(metadata)
        calls.read(order.rpc, self._sender.call(order.rpc.path, order.request, until, pairs, repeatable=False))

    def _call(self, rpc: Rpc[Response], request: Message, timeout: float | None, metadata: Metadata | None) -> Response:
        return self._ask(rpc, request, self._until(timeout), metadata)

    def _ask(self, rpc: Rpc[Response], request: Message, until: float | None, metadata: Metadata | None) -> Response:
        pairs = self._pairs(metadata)
        return calls.read(rpc, self._sender.call(rpc.path, request.SerializeToString(), until, pairs))

    def _declared_inputs(self, model: str, version: str | int, until: float | None, metadata: Metadata | None) -> Mapping[str, Declared]:
        """The model's inputs by name, from its metadata, which is asked for once."""
        known = self._declared.get((model, version))
        if known is None:
            request = messages.ModelMetadataRequest(name=model, version=version_text(version))
            response = self._ask(calls.MODEL_METADATA, request, until, metadata)
            known = self._declared[model, version] = codec.declared_inputs(response)
        return known

    def _until(self, timeout: float | None) -> float | None:
        """When the caller's patience ends, on the clock `monotonic`."""
        seconds = self._timeout if timeout is None else calls.checked_timeout(timeout)
        return None if seconds is None else monotonic() + seconds

    def _pairs(self, metadata: Metadata | None) -> Pairs:
        token = self._token() if callable(self._token) else self._token
        sent = None if token is None else security.bearer(token)
        return calls.metadata_pairs(self._metadata, metadata, token=sent, exposed=self._servers.exposed)
