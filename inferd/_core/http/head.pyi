from typing import Final, Literal, final

from inferd.errors import RequestError

@final
class Head:
    keep_alive: bool
    max_body_nbytes: int
    response_json_nbytes: int
    response_headers: tuple[tuple[bytes, bytes], ...] | None
    verb_name: Final[bytes]
    target: Final[bytes]
    path: Final[bytes]
    query: Final[bytes]
    is_infer: Final[bool]
    model_name: Final[bytes]
    model_version: Final[bytes]
    from_browser: Final[bool]
    host: Final[bytes | None]
    content_type: Final[bytes | None]
    content_type_whole: Final[bytes | None]
    content_coding_name: Final[Literal["identity", "gzip", "deflate", "unknown"]]
    accept_coding_name: Final[Literal["identity", "gzip", "deflate"]]
    json_nbytes: Final[int]
    content_nbytes: Final[int]
    timeout_ns: Final[int]
    authorization: Final[bytes | None]
    accept: Final[bytes | None]
    origin: Final[bytes | None]
    access_control_request_method: Final[bytes | None]
    request_id: Final[bytes | None]
    key: Final[int]
    traceparent: Final[bytes | None]
    expects_continue: Final[bool]
    error: Final[RequestError | None]
    def deadline_ns(self, now_ns: int) -> int: ...
