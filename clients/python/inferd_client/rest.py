"""RPCs as requests of HTTP, and their responses as the messages that gRPC would have brought: the protocol's REST form, with Triton's
extensions. Both sides are serialized protobuf, so that nothing above a channel knows which of the two it is. Sends nothing.
"""

from __future__ import annotations

import json
import math
import os
import re
import ssl
import zlib
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from inferd_client import calls, messages
from inferd_client.errors import InferenceError
from inferd_client.urls import Url

__all__ = [
    "JSON_NBYTES",
    "SERVER_METADATA",
    "HttpRequest",
    "HttpResponse",
    "Part",
    "document_of",
    "late",
    "message_of",
    "received",
    "request_of",
    "takes_binary",
    "target_of",
    "unreachable",
    "unreadable",
    "with_headers",
]

BINARY = "binary_tensor_data"  # the extension by which tensors travel as bytes
JSON_NBYTES = "inference-header-content-length"
TIMEOUT = "inferd-timeout-ms"
LONGEST_TEXT = 1000  # of a body that is no JSON, in an error

Part: TypeAlias = bytes | memoryview

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_OURS = ("connection", "content-encoding", "content-length", "content-type", "transfer-encoding", JSON_NBYTES)


class HttpRequest(NamedTuple):
    """target: from the prefix on. parts: of the body."""

    verb: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    parts: Sequence[Part] = ()


SERVER_METADATA = HttpRequest("GET", "/v2")


class HttpResponse(NamedTuple):
    """headers: names in lower case. body: as it was before it was compressed."""

    status: int
    headers: Mapping[str, str]
    body: memoryview


def received(status: int, headers: Iterable[tuple[str, str]], body: Part) -> HttpResponse:
    """The response that came, decompressed. Raises InferenceError(INTERNAL)."""
    named = {name.lower(): value for name, value in headers}
    coding = named.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return HttpResponse(status, named, memoryview(body))
    try:
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise ValueError(f"expected the content-encoding gzip or deflate, got {coding!r:.50}")
        return HttpResponse(status, named, memoryview(zlib.decompress(body, wbits=32 + zlib.MAX_WBITS)))  # either of the two
    except (ValueError, zlib.error) as error:
        raise unreadable(error) from error


class _Method(NamedTuple):
    """ask: verb, path and what is sent as JSON. read: the response, of its JSON. no: statuses by which a server says no, and the response
    then."""

    request: Callable[[], Any]
    ask: Callable[[Any], tuple[str, str, Any]]
    read: Callable[[Any], Message]
    no: tuple[int, ...] = ()
    says_no: Callable[[], Message] | None = None


def target_of(name: str, version: str = "", suffix: str = "") -> str:
    """The path of a model, or of one of its versions."""
    place = f"/v2/models/{quote(name, safe='')}"
    return (f"{place}/versions/{quote(version, safe='')}" if version else place) + suffix


def request_of(path: str, message: bytes) -> HttpRequest:
    """The request of an RPC, which is not ModelInfer. Raises InferenceError(UNIMPLEMENTED) for one that HTTP has not."""
    method = _METHODS.get(path)
    if method is None:
        name = path.rpartition("/")[2]
        raise InferenceError(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not to be had over HTTP; ask the server's gRPC address for it")
    request = method.request()
    request.ParseFromString(message)
    verb, target, document = method.ask(request)
    if document is None:
        return HttpRequest(verb, target)
    return HttpRequest(verb, target, (("content-type", "application/json"),), (json.dumps(document).encode(),))


def message_of(path: str, response: HttpResponse) -> bytes:
    """The message that responds to an RPC, which is not ModelInfer. Raises InferenceError."""
    method = _METHODS[path]
    if response.status in method.no and method.says_no is not None:
        return method.says_no().SerializeToString()
    document = document_of(response)
    try:
        return method.read(document).SerializeToString()
    except (ParseError, TypeError, ValueError, AttributeError, SystemError) as error:  # the last of a name with half a surrogate pair
        raise unreadable(error) from error


def document_of(response: HttpResponse, end: int | None = None) -> Any:
    """The JSON of a response, whose first `end` bytes it is; None of an empty one. Raises InferenceError: its status, or INTERNAL."""
    if response.status != 200:
        raise _error(response)
    content = bytes(response.body[:end])
    try:
        return json.loads(content) if content else None
    except (ValueError, RecursionError) as error:
        raise unreadable(error) from error


def takes_binary(response: HttpResponse) -> bool:
    """Whether a server announces the binary extension, of its response to SERVER_METADATA. Raises InferenceError."""
    if response.status in (404, 405, 501):
        return False
    document = document_of(response)
    extensions = document.get("extensions") if isinstance(document, dict) else None
    return isinstance(extensions, list) and BINARY in extensions


def late(url: object) -> InferenceError:
    return InferenceError(grpc.StatusCode.DEADLINE_EXCEEDED, f"{url}: no response within the timeout")


def unreachable(url: Url, error: Exception) -> InferenceError:
    """The error of a call that got no response, with the cure where one is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted ({error.verify_message}); pass tls=TLS(ca=...), or server_name= for another name"
    elif isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        why = f"it speaks no TLS there; write {url._replace(tls=False)}"
    elif isinstance(error, ConnectionError) and error.errno:
        why = os.strerror(error.errno)  # asyncio has its own words
    elif isinstance(error, OSError) and error.strerror:
        why = error.strerror
    else:
        why = f"no response of HTTP/1.1 came ({type(error).__name__}: {str(error)[:200]!r})"
        if not url.tls:
            why += "; is it the port for HTTP, and if it speaks TLS, write https://"
    return InferenceError(grpc.StatusCode.UNAVAILABLE, f"{url}: {why}")


def unreadable(error: object) -> InferenceError:
    return InferenceError(grpc.StatusCode.INTERNAL, f"the server's response cannot be read: {error}")


def with_headers(request: HttpRequest, metadata: calls.Pairs, timeout: float | None, compression: str | None) -> HttpRequest:
    """The request with what goes along with each: the call's metadata, its timeout, the length of a body, which may be compressed.

    Raises ValueError for metadata that is no header.
    """
    headers = [*request.headers, *(_header(name, value) for name, value in metadata or ())]
    if timeout is not None:
        headers.append((TIMEOUT, str(max(1, math.ceil(timeout * 1000)))))
    parts = request.parts
    if compression is not None:
        headers.append(("accept-encoding", compression))
        if parts:
            packer = zlib.compressobj(wbits=zlib.MAX_WBITS + (16 if compression == "gzip" else 0))
            parts = [*(packer.compress(part) for part in parts), packer.flush()]
            headers.append(("content-encoding", compression))
    if request.verb == "POST":
        headers.append(("content-length", str(sum(map(len, parts)))))
    return request._replace(headers=tuple(headers), parts=parts)


def _header(name: str, value: str | bytes) -> tuple[str, str]:
    if not isinstance(value, str):
        raise ValueError(f"metadata: {name}: expected a str, for a header of HTTP holds text; got {type(value).__name__}")
    if name in _OURS or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"metadata: {name!r:.100}: expected the name and the value of a header, and none that says how the body is sent")
    return name, value


_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    505: grpc.StatusCode.UNIMPLEMENTED,
}
_BY_NAME = {code.name: code for code in grpc.StatusCode}


def _error(response: HttpResponse) -> InferenceError:
    """The error of a response with a status other than 200. `error` is Triton's and MLServer's word, `detail` FastAPI's; `code` is
    inferd's."""
    text = bytes(response.body[: 64 * LONGEST_TEXT]).decode("utf-8", "replace").strip()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    code = _CODES.get(response.status, grpc.StatusCode.UNKNOWN)
    if not isinstance(said, dict):
        return InferenceError(code, f"HTTP {response.status}: {text[:LONGEST_TEXT]}".rstrip(": "), _retry_after(response))
    message = said.get("error", said.get("detail", said.get("message", text[:LONGEST_TEXT])))
    code = _BY_NAME.get(str(said.get("code")), code)
    return InferenceError(code, message if isinstance(message, str) else json.dumps(message)[:LONGEST_TEXT], _retry_after(response))


def _retry_after(response: HttpResponse) -> float | None:
    """Seconds; inferd and others say milliseconds, too, for a second is long."""
    for name, each_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(response.headers[name]) * each_s
        except (KeyError, ValueError):  # it may be a date, by a clock that is not ours
            continue
        if 0 <= seconds < math.inf:
            return seconds
    return None


def _get(suffix: str) -> Callable[[Any], tuple[str, str, Any]]:
    """The HTTP request of a method about a model, or one of its versions."""
    return lambda request: ("GET", target_of(request.name, request.version, suffix), None)


def _statistics(request: Any) -> tuple[str, str, Any]:
    return "GET", target_of(request.name, request.version, "/stats") if request.name else "/v2/models/stats", None


def _health(request: Any) -> tuple[str, str, Any]:
    """gRPC's health check, of the server or of a model: its name, or name/version."""
    name, _, version = request.service.partition("/")
    return "GET", target_of(name, version, "/ready") if name else "/v2/health/ready", None


def _control(verb: str) -> Callable[[Any], tuple[str, str, Any]]:
    def ask(request: Any) -> tuple[str, str, Any]:
        place = f"/v2/repository/models/{quote(request.model_name, safe='')}/{verb}"
        return (
            "POST",
            place,
            {"parameters": {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()}},
        )

    return ask


def _status(request: Any) -> tuple[str, str, Any]:
    """The HTTP request for the rollout of a model, or of all."""
    return "GET", target_of(request.model_name, suffix="/rollout") if request.model_name else "/v2/rollouts", None


def _rollout(suffix: str) -> Callable[[Any], tuple[str, str, Any]]:
    def ask(request: Any) -> tuple[str, str, Any]:
        document = _plain(request)
        return "POST", target_of(document.pop("model_name", ""), suffix=f"/rollout{suffix}"), document

    return ask


def _labels(request: Any) -> tuple[str, str, Any]:
    document = _plain(request)
    return "POST", target_of(document.pop("model_name", ""), suffix="/feedback"), document


def _performance(request: Any) -> tuple[str, str, Any]:
    asked = _plain(request)
    name, version = asked.pop("model_name", ""), asked.pop("model_version", "")
    return "GET", target_of(name, str(version), "/performance") + (f"?{urlencode(asked)}" if asked else ""), None


def _drift(request: Any) -> tuple[str, str, Any]:
    return "GET", target_of(request.model_name, str(request.model_version or ""), "/drift"), None


def _plain(message: Message) -> dict[str, Any]:
    """The fields that are set, as inferd takes them: names as in the .proto, all numbers as numbers."""
    return {field.name: _plain_value(field, value) for field, value in message.ListFields()}


def _plain_value(field: Any, value: Any) -> Any:
    if isinstance(value, MutableMapping):
        return dict(value)
    if isinstance(value, MutableSequence):
        return [_plain_value(field, each) for each in value]
    if isinstance(value, Message):
        return _plain(value)
    known = None if field.enum_type is None else field.enum_type.values_by_number.get(value)
    return value if known is None else known.name


def _parsed(made: Callable[[], Message]) -> Callable[[Any], Message]:
    return lambda document: ParseDict(document, made(), ignore_unknown_fields=True)


def _yes(field: str, made: Callable[..., Message]) -> Callable[[Any], Message]:
    return lambda document: made(**{field: _is_yes(document, field)})


def _is_yes(document: Any, field: str) -> bool:
    """Some say it in the body, too, and there it may be no."""
    return not isinstance(document, dict) or document.get(field) is not False


_ROLLOUTS, _FEEDBACK = "/inferd.v1.Rollouts/", "/inferd.v1.Feedback/"
_NO = (400, 503)
_SERVING, _NOT_SERVING = messages.HealthCheckResponse.SERVING, messages.HealthCheckResponse.NOT_SERVING

_METHODS: dict[str, _Method] = {
    calls.SERVER_LIVE.path: _Method(
        messages.ServerLiveRequest,
        lambda _: ("GET", "/v2/health/live", None),
        _yes("live", messages.ServerLiveResponse),
        _NO,
        messages.ServerLiveResponse,
    ),
    calls.SERVER_READY.path: _Method(
        messages.ServerReadyRequest,
        lambda _: ("GET", "/v2/health/ready", None),
        _yes("ready", messages.ServerReadyResponse),
        _NO,
        messages.ServerReadyResponse,
    ),
    calls.MODEL_READY.path: _Method(
        messages.ModelReadyRequest, _get("/ready"), _yes("ready", messages.ModelReadyResponse), (404, *_NO), messages.ModelReadyResponse
    ),
    calls.HEALTH_CHECK.path: _Method(
        messages.HealthCheckRequest,
        _health,
        lambda document: messages.HealthCheckResponse(status=_SERVING if _is_yes(document, "ready") else _NOT_SERVING),
        _NO,
        lambda: messages.HealthCheckResponse(status=_NOT_SERVING),
    ),
    calls.SERVER_METADATA.path: _Method(
        messages.ServerMetadataRequest, lambda _: ("GET", "/v2", None), _parsed(messages.ServerMetadataResponse)
    ),
    calls.MODEL_METADATA.path: _Method(messages.ModelMetadataRequest, _get(""), _parsed(messages.ModelMetadataResponse)),
    calls.MODEL_CONFIG.path: _Method(
        messages.ModelConfigRequest,
        _get("/config"),
        lambda document: messages.ModelConfigResponse(config=ParseDict(document, messages.ModelConfig(), ignore_unknown_fields=True)),
    ),
    calls.MODEL_STATISTICS.path: _Method(messages.ModelStatisticsRequest, _statistics, _parsed(messages.ModelStatisticsResponse)),
    calls.REPOSITORY_INDEX.path: _Method(
        messages.RepositoryIndexRequest,
        lambda request: ("POST", "/v2/repository/index", {"ready": request.ready}),
        lambda document: _parsed(messages.RepositoryIndexResponse)({"models": document}),
    ),
    calls.MODEL_LOAD.path: _Method(messages.RepositoryModelLoadRequest, _control("load"), lambda _: messages.RepositoryModelLoadResponse()),
    calls.MODEL_UNLOAD.path: _Method(
        messages.RepositoryModelUnloadRequest, _control("unload"), lambda _: messages.RepositoryModelUnloadResponse()
    ),
    f"{_ROLLOUTS}Start": _Method(messages.StartRolloutRequest, _rollout(""), _parsed(messages.RolloutStatus)),
    f"{_ROLLOUTS}Promote": _Method(messages.RolloutRequest, _rollout("/promote"), _parsed(messages.RolloutStatus)),
    f"{_ROLLOUTS}RollBack": _Method(messages.RolloutRequest, _rollout("/rollback"), _parsed(messages.RolloutStatus)),
    f"{_ROLLOUTS}Stop": _Method(messages.RolloutRequest, _rollout("/stop"), _parsed(messages.RolloutStatus)),
    f"{_ROLLOUTS}Report": _Method(messages.ReportOutcomesRequest, _rollout("/outcomes"), _parsed(messages.ReportOutcomesResponse)),
    f"{_FEEDBACK}Report": _Method(messages.ReportLabelsRequest, _labels, _parsed(messages.ReportLabelsResponse)),
    f"{_FEEDBACK}Performance": _Method(messages.PerformanceRequest, _performance, _parsed(messages.PerformanceResponse)),
    "/inferd.v1.Monitor/Drift": _Method(messages.DriftRequest, _drift, _parsed(messages.DriftResponse)),
    f"{_ROLLOUTS}Status": _Method(
        messages.RolloutStatusRequest,
        _status,
        lambda document: _parsed(messages.RolloutStatusResponse)(document if "rollouts" in document else {"rollouts": [document]}),
    ),
}
