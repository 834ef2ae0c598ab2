"""One path of REST: its verbs, its limits, and its entry in /openapi.json. Never in here: HTTP, sockets, which paths exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from inferd._core.http.head import Head

Headers = tuple[tuple[bytes, bytes], ...]
JSON = ((b"content-type", b"application/json"),)
MAX_BODY_NBYTES = 64 << 10


class Response(NamedTuple):
    """One response. A response to HEAD has a body, too, which the server leaves out."""

    status: int
    headers: Headers = ()
    body: bytes = b""


class Asked(NamedTuple):
    """A request: the model and version that its path names, and its body."""

    model: str
    version: str
    body: bytes
    head: Head


Handler = Callable[[Asked], Awaitable[Response]]


class Verb(NamedTuple):
    """handler: raises RequestError. operation: of OpenAPI; None: not in the document. body: the type of a body, if the document has its
    schema. changes: changes models or rollouts, which may need certain tokens. screen(): raises before the body comes."""

    handler: Handler
    operation: dict[str, Any] | None = None
    body: type[msgspec.Struct] | None = None
    max_body_nbytes: int = MAX_BODY_NBYTES
    changes: bool = False
    screen: Callable[[], object] = lambda: None


class Resource(NamedTuple):
    """path: in OpenAPI's form, without the first slash: v2/models/{model}/ready. Requests may name a version after the model. verbs: GET,
    which serves HEAD, too, and POST. of_version: the operation of GET on a version, if the document has it."""

    path: str
    verbs: dict[str, Verb]
    of_version: dict[str, Any] | None = None

    @classmethod
    def of(cls, path: str, handler: Handler, of_version: dict[str, Any] | None = None, **operations: dict[str, Any]) -> Resource:
        """A path whose verbs have one handler. operations: of OpenAPI, by GET and POST."""
        return cls(path, {name: Verb(handler, operation) for name, operation in operations.items()}, of_version)


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, JSON, msgspec.json.encode(value))
