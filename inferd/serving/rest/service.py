"""REST beside inference: finds the path of a request, and checks whether the client may call it. Never in here: sockets, the body of an
inference (raw_body.py, _core/rest), which paths exist (each part's `resources`).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import unquote

from inferd._core.http.response import error_body, error_headers, status_of
from inferd.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unimplemented
from inferd.part.bodies import MAX_SHOWN_CHARS
from inferd.part.resource import JSON, MAX_BODY_NBYTES, Asked, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from inferd._core.grpc.call import Call
    from inferd._core.http.head import Head
    from inferd.errors import RequestError
    from inferd.part.resource import Headers, Resource, Verb

INFER = "v2/models/{model}/infer"  # POST to this path is not for this class
SERVER = b"*"  # the server itself, a path for OPTIONS alone

READ = (b"GET", b"HEAD", b"OPTIONS")  # they change nothing
PREFLIGHT_S = b"600"  # browsers may cache a preflight for so long
ASKED_HEADERS = (
    b"authorization, content-type, content-encoding, inference-header-content-length, inferd-key, inferd-timeout-ms, traceparent, "
    b"x-request-id"
)
SHOWN_HEADERS = b"inference-header-content-length, retry-after, retry-after-ms, x-request-id"


class RestService:
    """All paths except POST .../infer. resources: of all parts. cors_origins: of web pages that may call; "*" is any. is_local: only this
    machine reaches the server. check_change(authorization): raises where a call may not change models or rollouts."""

    def __init__(
        self,
        resources: Iterable[Resource],
        cors_origins: Sequence[str] = (),
        *,
        is_local: bool = False,
        check_change: Callable[[bytes | None], None] = lambda _: None,
    ) -> None:
        self._check_change = check_change
        self._is_local = is_local
        self._cors_origins = frozenset(origin.encode().lower() for origin in cors_origins)
        self._hosts = frozenset(_host_name(origin.rpartition(b"://")[2]) for origin in self._cors_origins) | {"localhost"}
        self._verbs: dict[str, dict[str, Verb]] = {INFER: {}} | {each.path: each.verbs for each in resources}

    def screen(self, call: Call, head: Head) -> None:
        """Called before the check of the token; for an inference, only if it comes from a browser. Raises the rejection."""
        head.response_headers = self._cors_headers(head) or None
        self._check_origin(head)

    def admit(self, call: Call, head: Head) -> None:
        """Called after the check of the token, before the body comes. Does nothing for an inference. Raises the rejection."""
        if head.is_infer or head.path == SERVER:
            return
        path, *_ = split(head.path)
        if path not in self._verbs:
            raise _no_such_path(head.path)
        verb = self._verbs[path].get(_verb_name(head))
        head.max_body_nbytes = MAX_BODY_NBYTES if verb is None else verb.max_body_nbytes
        if verb is not None:
            if verb.changes:
                self._check_change(head.authorization)
            verb.screen()

    async def respond(self, head: Head, body: bytes) -> Response:
        """The response to a request that is no inference. Raises RequestError."""
        if head.path == SERVER:
            return Response(204, ((b"allow", b"GET, HEAD, POST, OPTIONS"),))
        path, model, version = split(head.path)
        verbs, name = self._verbs.get(path), _verb_name(head)
        if verbs is None or (path == INFER and name == "POST"):  # with a slash at its end, for example, so that it is no inference
            raise _no_such_path(head.path)
        if (verb := verbs.get(name)) is not None:
            if len(body) > verb.max_body_nbytes:
                raise ResourceExhausted(
                    f"body: expected a message of at most {verb.max_body_nbytes} bytes, got {len(body)}; send a smaller one",
                    reason="message_size",
                )
            return await verb.handler(Asked(model, version, body, head))
        allowed = ", ".join([*(verbs or ["POST"]), *(["HEAD"] if "GET" in verbs else []), "OPTIONS"]).encode()
        allow = (b"allow", allowed)
        if name == "OPTIONS":
            return Response(204, (allow, *self._preflight(head, allowed)))
        error = InvalidArgument(f"{_shown(head.path)}: expected {allowed.decode()}, got {name[:16]}", reason="method")
        return error_response(error)._replace(status=405, headers=(*JSON, allow))

    # ---- browsers ----

    def _check_origin(self, head: Head) -> None:
        """Rejects changes by a web page of another origin, as a browser sends some requests without a preflight. On a loopback address,
        also rejects all requests of pages by a host name that may be rebound (DNS rebinding)."""
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
        return ((b"access-control-allow-origin", head.origin), (b"access-control-expose-headers", SHOWN_HEADERS), (b"vary", b"origin"))

    def _preflight(self, head: Head, allowed: bytes) -> Headers:
        if head.access_control_request_method is None or head.origin is None or not self._is_allowed(head.origin):
            return ()
        return (
            (b"access-control-allow-methods", allowed),
            (b"access-control-allow-headers", ASKED_HEADERS),
            (b"access-control-max-age", PREFLIGHT_S),
        )

    def _is_own(self, host: bytes | None) -> bool:
        """Whether a browser with this Host means this server: the host is known, or an IP address, which DNS cannot rebind."""
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


def is_probe(head: Head) -> bool:
    """Whether the request is a probe, which costs next to nothing and passes others that wait."""
    return head.path.startswith(b"/v2/health/") or head.path.endswith(b"/ready")


def error_response(error: RequestError) -> Response:
    """The response that a client gets in place of a result. Triton's clients read `error`."""
    return Response(status_of(error), (*JSON, *error_headers(error)), error_body(error))


def split(path: bytes) -> tuple[str, str, str]:
    """The path of the request's Resource, and the model and version that the request names."""
    parts = path.decode("ascii", "replace").removeprefix("/").removesuffix("/").split("/")
    model = version = ""
    at = 2 if parts[:2] == ["v2", "models"] else 3 if parts[:3] == ["v2", "repository", "models"] else len(parts)
    if at < len(parts) and parts[at] and parts != ["v2", "models", "stats"]:
        model, parts[at] = _unquoted(parts[at]), "{model}"
        if at == 2 and parts[3:4] == ["versions"] and len(parts) > 4:
            version = _unquoted(parts[4])
            del parts[3:5]
    return "/".join(parts), model, version


def _verb_name(head: Head) -> str:
    """The method's name. HEAD counts as GET; its body is left out."""
    return head.verb_name.decode("ascii", "replace").replace("HEAD", "GET")


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
