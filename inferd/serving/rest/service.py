"""REST beside inference: the table of the Open Inference Protocol's paths, over the methods that gRPC has.

Each path is one method of the service table, asked by a protobuf message and answered in Triton's JSON form. Never in here: sockets, the
body of an inference (plain.py, _core/rest), what a method does.
"""

from __future__ import annotations

import ipaddress
from base64 import b64decode
from binascii import Error as NoBase64
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import msgspec

from inferd._core.http.response import error_body, error_headers, status_of
from inferd.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unimplemented
from inferd.protocol import inference
from inferd.serving.inspection import SERVICE
from inferd.serving.model_control import MAX_PARAMETERS
from inferd.serving.rest.json_form import JsonBody, json_form
from inferd.serving.rollouts import MAX_REPORT_NBYTES
from inferd.serving.rollouts import SERVICE as ROLLOUTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from inferd._core.grpc.call import Call
    from inferd._core.http.head import Head
    from inferd.errors import RequestError
    from inferd.serving.method import Method
    from inferd.serving.model_control import ModelControl
    from inferd.serving.rest.pages import Pages

__all__ = ["INFER", "Headers", "Response", "RestService", "error_response", "is_probe", "split"]

Headers = tuple[tuple[bytes, bytes], ...]
INFER = "v2/models/*/infer"  # the resource that is not for this class
OUTCOMES = "v2/models/*/rollout/outcomes"
# A POST of these changes models or rollouts: as Method.changes says of gRPC.
CHANGES = frozenset(
    [f"v2/repository/models/*/{each}" for each in ("load", "unload")]
    + [f"v2/models/*/rollout{each}" for each in ("", "/promote", "/rollback", "/stop")]
)
SERVER = b"*"  # the server itself, of which OPTIONS alone may ask

READ = (b"GET", b"HEAD", b"OPTIONS")  # they change nothing
MAX_SHOWN_CHARS = 128  # of a client's own words
MAX_BODY_NBYTES = 64 << 10  # of requests that neither load a model nor report outcomes
PREFLIGHT_S = b"600"  # browsers ask again after so long
ASKED_HEADERS = (
    b"authorization, content-type, content-encoding, inference-header-content-length, inferd-key, inferd-timeout-ms, traceparent, "
    b"x-request-id"
)
SHOWN_HEADERS = b"inference-header-content-length, retry-after, retry-after-ms, x-request-id"
JSON = ((b"content-type", b"application/json"),)


class Response(NamedTuple):
    """One response; that to HEAD has a body, too, which the server leaves out."""

    status: int
    headers: Headers = ()
    body: bytes = b""


class Asked(NamedTuple):
    """The model and version that a path names, and the request's body."""

    model: str
    version: str
    body: bytes
    head: Head | None = None


class RestService:
    """All paths but POST .../infer. methods: the service table. cors_origins: of web pages that may call; "*" is any.
    pages: what the server makes of itself; None: nothing. control: says whether clients may load and unload models; None: any may ask.
    is_local: only this machine reaches the server. check_change(authorization): raises where a call may not change models or rollouts."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        cors_origins: Sequence[str] = (),
        pages: Pages | None = None,
        control: ModelControl | None = None,
        *,
        is_local: bool = False,
        check_change: Callable[[bytes | None], None] = lambda _: None,
    ) -> None:
        self._check_change = check_change
        self._methods, self._pages, self._control, self._is_local = methods, pages, control, is_local
        self._cors_origins = frozenset(origin.encode().lower() for origin in cors_origins)
        self._hosts = frozenset(_host_name(origin.rpartition(b"://")[2]) for origin in self._cors_origins) | {"localhost"}
        self._resources: dict[str, dict[str, Callable[[Asked], Awaitable[Response]] | None]] = {
            "v2": {"GET": self._metadata},
            "v2/health/live": {"GET": self._live},
            "v2/health/ready": {"GET": self._ready},
            "v2/models/stats": {"GET": self._statistics},
            "v2/models/*": {"GET": self._model_metadata},
            "v2/models/*/ready": {"GET": self._model_ready},
            "v2/models/*/config": {"GET": self._model_config},
            "v2/models/*/stats": {"GET": self._statistics},
            "v2/models/*/trace/setting": {"GET": self._trace, "POST": self._trace},
            INFER: {"POST": None},
            "v2/rollouts": {"GET": self._all_rollouts},
            "v2/models/*/rollout": {"GET": self._rollout, "POST": partial(self._order, "Start")},
            "v2/models/*/rollout/promote": {"POST": partial(self._order, "Promote")},
            "v2/models/*/rollout/rollback": {"POST": partial(self._order, "RollBack")},
            "v2/models/*/rollout/stop": {"POST": partial(self._order, "Stop")},
            OUTCOMES: {"POST": partial(self._order, "Report")},
            "v2/trace/setting": {"GET": self._trace, "POST": self._trace},
            "v2/logging": {"GET": self._logging, "POST": self._logging},
            "v2/repository/index": {"GET": self._index, "POST": self._index},
            "v2/repository/models/*/load": {"POST": self._load},
            "v2/repository/models/*/unload": {"POST": self._unload},
        }
        if pages is not None:
            self._resources |= {
                "": {"GET": self._root},
                "docs": {"GET": self._docs},
                "openapi.json": {"GET": self._openapi},
                "metrics": {"GET": self._metrics},
            }

    def screen(self, call: Call, head: Head) -> None:
        """Called before the token is looked at: of an inference, where it comes from a browser. Raises the rejection."""
        head.response_headers = self._cors_headers(head) or None
        self._check_origin(head)

    def admit(self, call: Call, head: Head) -> None:
        """Called behind the check of the token, before the body of a request comes: not of an inference. Raises the rejection."""
        if not head.is_infer:
            resource, _ = split(head.path)
            if resource not in self._resources and head.path != SERVER:
                raise _no_such_path(head.path)
            if resource in CHANGES and head.verb_name == b"POST":
                self._check_change(head.authorization)
            if not resource.endswith("/load"):  # which brings a model's files
                head.max_body_nbytes = MAX_REPORT_NBYTES if resource == OUTCOMES else MAX_BODY_NBYTES
            elif self._control is not None and head.verb_name == b"POST":
                self._control.check_allowed()

    async def respond(self, head: Head, body: bytes) -> Response:
        """The response to a request that is no inference. Raises RequestError."""
        if head.path == SERVER:
            return Response(204, ((b"allow", b"GET, HEAD, POST, OPTIONS"),))
        resource, asked = split(head.path)
        handlers = self._resources.get(resource)
        verb = head.verb_name.decode("ascii", "replace").replace("HEAD", "GET")
        if handlers is None or (resource == INFER and verb == "POST"):  # a slash behind it, for example: else it were an inference
            raise _no_such_path(head.path)
        handler = handlers.get(verb)
        if handler is not None:
            return await handler(asked._replace(body=body, head=head))
        allowed = ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"]).encode()
        allow = (b"allow", allowed)
        if verb == "OPTIONS":
            return Response(204, (allow, *self._preflight(head, allowed)))
        error = InvalidArgument(f"{_shown(head.path)}: expected {allowed.decode()}, got {verb[:16]}", reason="method")
        return error_response(error)._replace(status=405, headers=(*JSON, allow))

    # ---- browsers ----

    def _check_origin(self, head: Head) -> None:
        """Rejects what a web page of a foreign origin would change here: a browser sends some requests without asking first. On a
        loopback address, also all that a page asks by a name that may lead elsewhere tomorrow (DNS rebinding)."""
        if head.origin is not None and self._is_allowed(head.origin):
            return
        if self._is_local and (head.from_browser or head.origin is not None) and not self._is_own(head.host):
            raise PermissionDenied(
                f"Host: expected localhost, an IP address or a host of cors_origin from a browser, got {_shown(head.host or b'')}; start "
                "the server with --cors-origin for the pages of that name",
                reason="origin",
            )
        if head.origin is None or head.verb_name in READ:
            return
        if head.host is None or head.origin.rpartition(b"://")[2].lower() != head.host.lower():
            raise PermissionDenied(
                f"Origin: expected this server's own or one of cors_origin, got {_shown(head.origin)}; start the server with "
                "--cors-origin for it",
                reason="origin",
            )

    def _cors_headers(self, head: Head) -> Headers:
        """Headers of every response to a page of an allowed origin."""
        if head.origin is None or not self._is_allowed(head.origin):
            return ((b"vary", b"origin"),) if self._cors_origins else ()
        return (
            (b"access-control-allow-origin", head.origin),
            (b"access-control-expose-headers", SHOWN_HEADERS),
            (b"vary", b"origin"),
        )

    def _preflight(self, head: Head, allowed: bytes) -> Headers:
        if head.access_control_request_method is None or head.origin is None or not self._is_allowed(head.origin):
            return ()
        return (
            (b"access-control-allow-methods", allowed),
            (b"access-control-allow-headers", ASKED_HEADERS),
            (b"access-control-max-age", PREFLIGHT_S),
        )

    def _is_own(self, host: bytes | None) -> bool:
        """Whether a browser that sends this Host asks for what is meant: nobody else's DNS says where an IP address leads."""
        if b"*" in self._cors_origins:
            return True
        name = _host_name(host or b"")
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True

    def _is_allowed(self, origin: bytes) -> bool:
        return b"*" in self._cors_origins or origin.lower() in self._cors_origins

    # ---- the paths ----

    async def _metadata(self, asked: Asked) -> Response:
        return _json(json_form(await self._call(inference.ServerMetadataRequest())))

    async def _live(self, asked: Asked) -> Response:
        return _state("live", (await self._call(inference.ServerLiveRequest())).live)

    async def _ready(self, asked: Asked) -> Response:
        return _state("ready", (await self._call(inference.ServerReadyRequest())).ready)

    async def _model_ready(self, asked: Asked) -> Response:
        answer = await self._call(inference.ModelReadyRequest(name=asked.model, version=asked.version))
        return _state("ready", answer.ready, name=asked.model)

    async def _model_metadata(self, asked: Asked) -> Response:
        return _json(json_form(await self._call(inference.ModelMetadataRequest(name=asked.model, version=asked.version, properties=True))))

    async def _model_config(self, asked: Asked) -> Response:
        return _json(json_form((await self._call(inference.ModelConfigRequest(name=asked.model, version=asked.version))).config))

    async def _statistics(self, asked: Asked) -> Response:
        answer = await self._call(inference.ModelStatisticsRequest(name=asked.model, version=asked.version))
        return _json(json_form(answer, whole=True))

    async def _index(self, asked: Asked) -> Response:
        """Triton's form is an array, and a model that nobody loaded has its name alone."""
        ready = _member(_object(asked.body), "ready", bool, False)
        answer = await self._call(inference.RepositoryIndexRequest(ready=ready), asked)
        return _json([{name: text for name, text in json_form(model).items() if text} for model in answer.models])

    async def _load(self, asked: Asked) -> Response:
        """Files come in base64."""
        request = inference.RepositoryModelLoadRequest(model_name=asked.model)
        self._methods[f"/{SERVICE}/RepositoryModelLoad"].check_size("body", len(asked.body))
        for name, value in _load_parameters(asked.body).items():
            if not name.startswith("file:"):
                _set_parameter(request.parameters[name], f"parameters.{name}", value)
                continue
            try:
                request.parameters[name].bytes_param = b64decode(value, validate=True)
            except (NoBase64, TypeError, ValueError):
                raise InvalidArgument(f"parameters.{name[:MAX_SHOWN_CHARS]}: expected the file's bytes as a string in base64") from None
        await self._call(request, asked)
        return Response(200)

    async def _unload(self, asked: Asked) -> Response:
        request = inference.RepositoryModelUnloadRequest(model_name=asked.model)
        for name, value in _member(_object(asked.body), "parameters", dict, {}).items():
            _set_parameter(request.parameters[name], f"parameters.{name}", value)
        await self._call(request, asked)
        return Response(200)

    async def _logging(self, asked: Asked) -> Response:
        request = inference.LogSettingsRequest()
        for name, value in _object(asked.body).items():
            _set_parameter(request.settings[name], name, value)
        answer = await self._call(request, asked)
        return _json({name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in sorted(answer.settings.items())})

    async def _trace(self, asked: Asked) -> Response:
        """null gives a setting back to the server's own value."""
        request = inference.TraceSettingRequest(model_name=asked.model)
        for name, value in _object(asked.body).items():
            values = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(each, str) for each in values):
                raise InvalidArgument(f"{name[:MAX_SHOWN_CHARS]}: expected a string, an array of strings or null")
            request.settings[name].value.extend(values)
        answer = await self._call(request, asked)
        settings = {name: list(setting.value) for name, setting in sorted(answer.settings.items())}
        return _json({name: values if name == "trace_level" else "".join(values) for name, values in settings.items()})

    async def _all_rollouts(self, asked: Asked) -> Response:
        return _json(json_form(await self._ask_rollouts("Status", b"")))

    async def _rollout(self, asked: Asked) -> Response:
        """A model has one at a time."""
        _check_no_version(asked)
        (found,) = (await self._ask_rollouts("Status", b"", model_name=asked.model)).rollouts
        return _json(json_form(found))

    async def _order(self, method: str, asked: Asked) -> Response:
        """Begins or ends a rollout, or reports outcomes."""
        _check_no_version(asked)
        return _json(json_form(await self._ask_rollouts(method, asked.body, model_name=asked.model)))

    async def _ask_rollouts(self, name: str, body: bytes, **given: str) -> Any:
        method = self._methods[f"/{ROLLOUTS}/{name}"]
        method.check_size("body", len(body))
        return await method.handler(_rollout_body(method.request_type).read(body, **given))

    async def _root(self, asked: Asked) -> Response:
        """A browser goes on to the page, by a path that holds behind a proxy, too; all others are told where something is."""
        assert asked.head is not None
        if b"text/html" in (asked.head.accept or b""):
            return Response(302, ((b"location", b"docs"), (b"vary", b"accept")), b"")
        raise NotFound("there is nothing at /: models are at /v2 (Open Inference Protocol), a page to try them at /docs in a browser")

    async def _docs(self, asked: Asked) -> Response:
        assert self._pages is not None
        return Response(*await self._pages.docs())

    async def _openapi(self, asked: Asked) -> Response:
        assert self._pages is not None
        return Response(*await self._pages.openapi())

    async def _metrics(self, asked: Asked) -> Response:
        assert self._pages is not None
        assert asked.head is not None
        if (page := await self._pages.metrics(asked.head)) is None:
            raise Unimplemented("with several workers the metrics of all are on metrics_port; scrape that")
        return Response(*page)

    async def _call(self, request: Any, asked: Asked | None = None) -> Any:
        """The response of the method that the message is for. asked: the request whose body it was made of."""
        method = self._methods[f"/{SERVICE}/{request.DESCRIPTOR.name.removesuffix('Request')}"]
        if asked is not None:
            method.check_size("body", len(asked.body))
        return await method.handler(request)


def is_probe(head: Head) -> bool:
    """Whether it costs next to nothing, and passes others that wait."""
    return head.path.startswith(b"/v2/health/") or head.path.endswith(b"/ready")


def error_response(error: RequestError) -> Response:
    """The response that a client gets in place of a result. Triton's clients read `error`."""
    return Response(status_of(error), (*JSON, *error_headers(error)), error_body(error))


def split(path: bytes) -> tuple[str, Asked]:
    """A path's resource, with * in place of a model's name and without a version, and these two."""
    parts = path.decode("ascii", "replace").removeprefix("/").removesuffix("/").split("/")
    model = version = ""
    at = 2 if parts[:2] == ["v2", "models"] else 3 if parts[:3] == ["v2", "repository", "models"] else len(parts)
    if at < len(parts) and parts[at] and parts != ["v2", "models", "stats"]:
        model, parts[at] = _unquoted(parts[at]), "*"
        if at == 2 and parts[3:4] == ["versions"] and len(parts) > 4:
            version = _unquoted(parts[4])
            del parts[3:5]
    return "/".join(parts), Asked(model, version, b"")


def _host_name(authority: bytes) -> str:
    """The host of HOST, HOST:PORT or [IPV6]:PORT, in lower case."""
    text = authority.decode("ascii", "replace").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidArgument("path: expected names in UTF-8, percent-encoded, got bytes that are none") from None


def _shown(text: bytes) -> str:
    return repr(text[:MAX_SHOWN_CHARS].decode("ascii", "replace"))


def _no_such_path(path: bytes) -> RequestError:
    if path.startswith((b"/v2/systemsharedmemory/", b"/v2/cudasharedmemory/")):
        return Unimplemented("shared memory is not built into this server: send tensors in binary, behind the JSON")
    return NotFound(f"there is no path {_shown(path)}: expected one of the Open Inference Protocol v2, such as /v2/models/NAME/infer")


@cache
def _rollout_body(request_type: Any) -> JsonBody:
    return JsonBody(request_type, "model_name")


def _check_no_version(asked: Asked) -> None:
    """A rollout is of a model: the versions in it are not those of a path."""
    if asked.version and asked.head is not None:
        raise _no_such_path(asked.head.path)


def _state(name: str, holds: bool, /, **fields: str) -> Response:
    return _json({**fields, name: holds})._replace(status=200 if holds else 503)


def _json(value: object) -> Response:
    return Response(200, JSON, msgspec.json.encode(value))


def _object(body: bytes) -> dict[str, Any]:
    """An empty body is an empty object."""
    if not body:
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"body: expected a JSON object: {str(error)[:MAX_SHOWN_CHARS]}") from None


class _Load(msgspec.Struct):
    """A body of 64 MB may hold 20 million empty arrays: only these types become Python objects."""

    parameters: dict[str, str | int | float | bool | None] = {}


def _load_parameters(body: bytes) -> dict[str, Any]:
    """Quotes are counted before anything is read: each parameter has two at least, and at most four that no backslash escapes."""
    most = 4 * (MAX_PARAMETERS + 64)
    if body.count(b'"') > most and body.count(b'"') - body.count(b'\\"') > most:
        raise ResourceExhausted(f"body: expected at most {MAX_PARAMETERS} parameters, got more; send fewer files", reason="message_size")
    try:
        return msgspec.json.decode(body or b"{}", type=_Load).parameters
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"body: expected a JSON object with parameters: {str(error)[:MAX_SHOWN_CHARS]}") from None


def _member(found: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = found.get(name, default)
    if type(value) is not kind:
        raise InvalidArgument(f"{name}: expected {'an object' if kind is dict else 'true or false'}")
    return value


def _set_parameter(target: Any, name: str, value: object) -> None:
    """target: a ModelRepositoryParameter, or a setting of the log."""
    if type(value) is bool:
        target.bool_param = value
    elif type(value) is int and 0 <= value < 1 << 32:
        setattr(target, "uint32_param" if "uint32_param" in target.DESCRIPTOR.fields_by_name else "int64_param", value)
    elif type(value) is str:
        target.string_param = value
    else:
        raise InvalidArgument(f"{name[:MAX_SHOWN_CHARS]}: expected true, false, a number of 32 bits or a string")
