"""The one error of the client: a call that a server rejected, or that never reached one."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError

from inferd_client import messages

__all__ = ["InferenceError"]

_DETAILS = "grpc-status-details-bin"


class InferenceError(Exception):
    """A call that ended with a gRPC status other than OK.

    code:         the status, such as grpc.StatusCode.NOT_FOUND. UNAVAILABLE also when no server could be reached,
                  DEADLINE_EXCEEDED also when the caller's own timeout ran out.
    message:      what the server said, for people.
    retry_after:  seconds after which it is worth trying again, when the server said so (RESOURCE_EXHAUSTED); else None.

    Mistakes that the client sees before it sends anything are TypeError and ValueError instead.
    """

    def __init__(self, code: grpc.StatusCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(code, message, retry_after)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    @classmethod
    def from_rpc(cls, error: grpc.RpcError) -> InferenceError:
        """From what grpc raised, sync or asyncio, which is its cause."""
        # Every RpcError that a call raises is a grpc.Call, too; its type does not say so.
        code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
        message = getattr(error, "details", lambda: str(error))() or ""
        trailers = getattr(error, "trailing_metadata", lambda: None)() or ()
        # Pairs in every version of grpcio, sync and asyncio; asyncio's are no mapping in the older ones.
        details = next((value for name, value in trailers if name == _DETAILS), None)
        made = cls(code, message, _retry_after(details))
        # Without its traceback, whose frames hold what is made here: a cycle, and the request in it.
        made.__cause__ = error.with_traceback(None)
        return made


def _retry_after(details: str | bytes | None) -> float | None:
    """Seconds from the RetryInfo in a serialized google.rpc.Status, if it holds one."""
    if not isinstance(details, bytes):
        return None
    try:
        status = messages.Status.FromString(details)
        for detail in status.details:
            if detail.type_url.endswith("/google.rpc.RetryInfo"):
                delay = messages.RetryInfo.FromString(detail.value).retry_delay
                return float(delay.seconds) + float(delay.nanos) * 1e-9
    except DecodeError:
        # Details are an extra: garbled ones must not hide the status itself.
        pass
    return None
