"""The asyncio client: the same calls as the blocking one, awaited. It belongs to the event loop of its first call."""

# ruff: noqa: ASYNC109  # a timeout here is gRPC's: it travels to the server, which asyncio.timeout cannot do

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from time import monotonic
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from inferd_client import calls, codec, messages, security
from inferd_client.aio_sender import AsyncSender
from inferd_client.balance import Balance
from inferd_client.calls import HealthStatus, Metadata, Pairs, Response, Rpc
from inferd_client.codec import Declared, InferResult, Parameter, version_text
from inferd_client.connection import Compression, Options, connection
from inferd_client.errors import InferenceError
from inferd_client.retry import DEFAULT, NEVER, Retry
from inferd_client.security import TLS

__all__ = ["AsyncClient"]


class AsyncClient:
    """The same as Client for asyncio: a connection to a server of the Open Inference Protocol, or one to each of several.

        async with AsyncClient("localhost:8001", timeout=5) as client:
            responses = await asyncio.gather(*(client.infer("digits", {"image": image}) for image in images))

    The arguments and the errors are those of Client. `token` may also return an awaitable. It must not block, and is cancelled when the
    call's timeout is over. Cancelling a call's task cancels the call at the server.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        tls: TLS | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
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
        self._sender = AsyncSender(servers, retry=NEVER if retry is None else retry, balance=balance, hedge_after=hedge_after)
        self._servers = servers
        self._token = token
        self._timeout = calls.checked_timeout(timeout)
        self._metadata = metadata
        self._declared: dict[tuple[str, str | int], dict[str, Declared]] = {}

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._servers}{', closed' if self._sender.is_closed else ''}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections. Calls that are under way, and later ones, raise InferenceError(CANCELLED). May be called twice."""
        await self._sender.close()

    async def infer(
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
        """One inference; the arguments are those of Client.infer."""
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
                declared = await self._declared_inputs(model, version, until, metadata)
            return await self._infer(encode(declared=declared), until, metadata, parameters)
        except (InferenceError, TypeError, ValueError) as error:
            # A model that was loaded again may take something else now.
            self._declared.pop((model, version), None)
            if declared is not None or not calls.may_be_datatype(error):
                raise
            with suppress(InferenceError):
                declared = await self._declared_inputs(model, version, until, metadata)
            if declared is None or not codec.differs(inputs, datatypes, declared):
                raise
        return await self._infer(encode(declared=declared), until, metadata, parameters)

    async def _infer(
        self, request: bytes, until: float | None, metadata: Metadata | None, parameters: Mapping[str, Parameter] | None
    ) -> InferResult:
        pairs = await self._pairs(metadata, until)
        response = await self._sender.call(calls.MODEL_INFER, request, until, pairs, repeatable=calls.is_repeatable(parameters))
        return codec.decode_infer_response(response)

    async def server_live(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server is live. Raises InferenceError(UNAVAILABLE) when it cannot be reached."""
        return (await self._call(calls.SERVER_LIVE, messages.ServerLiveRequest(), timeout, metadata)).live

    async def server_ready(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> bool:
        """Whether the server and its models are ready for requests."""
        return (await self._call(calls.SERVER_READY, messages.ServerReadyRequest(), timeout, metadata)).ready

    async def wait_ready(
        self, model: str = "", version: str | int = "", *, timeout: float = 60.0, metadata: Metadata | None = None
    ) -> None:
        """Waits until the server and its models are ready, or this one model is. timeout: seconds.

        Raises InferenceError(DEADLINE_EXCEEDED) that says what was last seen. It waits for a server that cannot be reached yet, and raises
        every other error.
        """
        until = monotonic() + timeout
        while True:
            left = max(until - monotonic(), 0.0)
            try:
                ready = await (
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
            await self._sender.pause(calls.READY_PAUSE_S)

    async def model_ready(
        self, model: str, version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> bool:
        """Whether a model (any version, or this one) is ready; False for unknown ones, too."""
        request = messages.ModelReadyRequest(name=model, version=version_text(version))
        return (await self._call(calls.MODEL_READY, request, timeout, metadata)).ready

    async def server_metadata(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> messages.ServerMetadataResponse:
        """The server's name, version and extensions."""
        return await self._call(calls.SERVER_METADATA, messages.ServerMetadataRequest(), timeout, metadata)

    async def model_metadata(
        self, model: str, version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelMetadataResponse:
        """Names, datatypes and shapes (with the batch axis as -1) of a model's inputs and outputs."""
        request = messages.ModelMetadataRequest(name=model, version=version_text(version), properties=True)
        return await self._call(calls.MODEL_METADATA, request, timeout, metadata)

    async def model_config(
        self, model: str, version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> messages.ModelConfig:
        """The complete configuration that a model runs with. A Triton extension."""
        request = messages.ModelConfigRequest(name=model, version=version_text(version))
        return (await self._call(calls.MODEL_CONFIG, request, timeout, metadata)).config

    async def statistics(
        self, model: str = "", version: str | int = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.ModelStatistics]:
        """Counts and durations of one model, or of all, one entry a version. A Triton extension."""
        request = messages.ModelStatisticsRequest(name=model, version=version_text(version))
        return list((await self._call(calls.MODEL_STATISTICS, request, timeout, metadata)).model_stats)

    async def repository_index(
        self, *, ready: bool = False, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[messages.RepositoryIndexResponse.ModelIndex]:
        """Every model version that the repository knows, or only those that are ready. A Triton extension."""
        request = messages.RepositoryIndexRequest(ready=ready)
        return list((await self._call(calls.REPOSITORY_INDEX, request, timeout, metadata)).models)

    async def load_model(
        self,
        model: str,
        *,
        version: int | None = None,
        config: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Loads a model, or takes its files as they are now; the arguments are those of Client.load_model. A Triton extension."""
        await self._control(calls.load_request(model, version, config), timeout, metadata)

    async def unload_model(
        self, model: str, *, version: int | None = None, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Unloads a model, or one of its versions, once the requests that it has are done. A Triton extension."""
        await self._control(calls.unload_request(model, version), timeout, metadata)

    async def report_labels(
        self, model: str, labels: calls.Labels, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> dict[str, int]:
        """Sends labels of earlier requests to a server that keeps its predictions (inferd, --feedback). Returns how many had which fate:
        joined, repeated, contradictory, misfit, late, waiting, unknown. They may be sent again: each counts once.

        labels: by request id, or tuples (request id, row, label). A label is a class as text, or a number. timeout: of each message of
        1,000 labels.
        """
        fates: dict[str, int] = {}
        for request in calls.label_requests(model, labels):
            told = await self._call(calls.REPORT_LABELS, request, timeout, metadata)
            for field, count in told.ListFields():
                fates[field.name] = fates.get(field.name, 0) + int(count)
        return fates

    async def models(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> list[str]:
        """Names of the models that are ready, sorted. A Triton extension."""
        return sorted({entry.name for entry in await self.repository_index(ready=True, timeout=timeout, metadata=metadata)})

    async def health(self, service: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> HealthStatus:
        """gRPC's standard health check of the server, or of a service or model by its name.

        Raises InferenceError(NOT_FOUND) for a name that the server does not know.
        """
        request = messages.HealthCheckRequest(service=service)
        response = await self._call(calls.HEALTH_CHECK, request, timeout, metadata)
        return calls.health_status(response)

    async def _control(self, order: calls.Order, timeout: float | None, metadata: Metadata | None) -> None:
        until = self._until(timeout)
        pairs = await self._pairs(metadata, until)
        calls.read(order.rpc, await self._sender.call(order.rpc.path, order.request, until, pairs, repeatable=False))

    async def _call(self, rpc: Rpc[Response], request: Message, timeout: float | None, metadata: Metadata | None) -> Response:
        return await self._ask(rpc, request, self._until(timeout), metadata)

    async def _ask(self, rpc: Rpc[Response], request: Message, until: float | None, metadata: Metadata | None) -> Response:
        pairs = await self._pairs(metadata, until)
        return calls.read(rpc, await self._sender.call(rpc.path, request.SerializeToString(), until, pairs))

    async def _declared_inputs(
        self, model: str, version: str | int, until: float | None, metadata: Metadata | None
    ) -> Mapping[str, Declared]:
        """The model's inputs by name, from its metadata, which is asked for once."""
        known = self._declared.get((model, version))
        if known is None:
            request = messages.ModelMetadataRequest(name=model, version=version_text(version))
            response = await self._ask(calls.MODEL_METADATA, request, until, metadata)
            known = self._declared[model, version] = codec.declared_inputs(response)
        return known

    def _until(self, timeout: float | None) -> float | None:
        """When the caller's patience ends, on the clock `monotonic`."""
        seconds = self._timeout if timeout is None else calls.checked_timeout(timeout)
        return None if seconds is None else monotonic() + seconds

    async def _pairs(self, metadata: Metadata | None, until: float | None) -> Pairs:
        token = self._token() if callable(self._token) else self._token
        if isawaitable(token):
            token = await _in_time(token, until)
        sent = None if token is None else security.bearer(token)
        return calls.metadata_pairs(self._metadata, metadata, token=sent, exposed=self._servers.exposed)


async def _in_time(token: Awaitable[str], until: float | None) -> str:
    """A token that is awaited. Raises InferenceError(DEADLINE_EXCEEDED)."""
    limit = asyncio.timeout(None if until is None else until - monotonic())
    try:
        async with limit:
            return await token
    except TimeoutError as error:
        if not limit.expired():
            raise  # the caller's own
        raise InferenceError(grpc.StatusCode.DEADLINE_EXCEEDED, "the token did not come in time") from error
