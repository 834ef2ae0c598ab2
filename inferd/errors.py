"""Every error that a client or an operator can see, each with its gRPC status code. A leaf: imports nothing of inferd.

    InferdError
      RequestError              a response to one request; `code` is the gRPC status code
        Cancelled           1   the caller went away
        InvalidArgument     3   the request can never be right for this model
          NoInputs              a body that is no inference request in JSON; raw inputs of a model may still be in it
        DeadlineExceeded    4   its deadline passed before a response was ready
        NotFound            5   no such model, version or service
        PermissionDenied    7   who the client is is known, and it may not
        ResourceExhausted   8   a stated limit is reached; `retry_after_ns` says when to come back
        FailedPrecondition  9   right in itself, not possible in the present state: an Engine that is closed
        Aborted            10   its run took longer than the server allows
        Unimplemented      12   no such method, or a feature that is not built
        Internal           13   a fault of ours; the details are in the log, never in the message
        Unavailable        14   another replica may succeed; with triton_statuses a full queue, too
        Unauthenticated    16   the client does not say who it is, or not so that it could be believed
      RunFailed                 ONNX Runtime failed to run a model: for the log alone, clients are told Internal
      ConfigError               exit code 2: a setting or a model's configuration is wrong
      StartError                exit code 3: the settings are right, the machine says no (port in use, unreadable file)

A message names the field, says what was expected, what came, and how to mend it. A RequestError, which goes to a client, never
holds a path of the server, a traceback or a library's error text. ConfigError and StartError go to the operator. They may quote paths and
causes, such as ONNX Runtime's words about a broken file, or the system's about a port.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in inferd/__init__.py
if TYPE_CHECKING:
    from typing import ClassVar

__all__ = [
    "Aborted",
    "Cancelled",
    "ConfigError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InferdError",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "RequestError",
    "ResourceExhausted",
    "StartError",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]


class InferdError(Exception):
    """The base of all errors that inferd raises on purpose."""


class RequestError(InferdError):
    """One request gets an error status instead of a result.

    `reason` is one word for the metrics (a label of bounded cardinality), by default the class's own.
    """

    code: ClassVar[int] = 2
    status: ClassVar[str] = "UNKNOWN"
    reason: str = "other"

    def __init_subclass__(cls, code: int = 0, status: str = "", reason: str = "") -> None:
        """A class that does not say one of these has its base's."""
        cls.code, cls.status, cls.reason = code or cls.code, status or cls.status, reason or cls.reason

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class _RetryLaterError(RequestError):
    """The same request may go well later: the client is told when, where that is known."""

    def __init__(self, message: str, *, reason: str | None = None, retry_after_ns: int = 0) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_ns = retry_after_ns


class Cancelled(RequestError, code=1, status="CANCELLED", reason="cancelled"): ...


class InvalidArgument(RequestError, code=3, status="INVALID_ARGUMENT", reason="invalid"): ...


class NoInputs(InvalidArgument, reason="no_inputs"): ...


class DeadlineExceeded(RequestError, code=4, status="DEADLINE_EXCEEDED", reason="deadline"): ...


class NotFound(RequestError, code=5, status="NOT_FOUND", reason="not_found"): ...


class PermissionDenied(RequestError, code=7, status="PERMISSION_DENIED", reason="permission"): ...


class ResourceExhausted(_RetryLaterError, code=8, status="RESOURCE_EXHAUSTED", reason="limit"): ...


class FailedPrecondition(RequestError, code=9, status="FAILED_PRECONDITION", reason="precondition"): ...


class Aborted(RequestError, code=10, status="ABORTED", reason="aborted"): ...


class Unimplemented(RequestError, code=12, status="UNIMPLEMENTED", reason="unimplemented"): ...


class Internal(RequestError, code=13, status="INTERNAL", reason="internal"): ...


class Unavailable(_RetryLaterError, code=14, status="UNAVAILABLE", reason="unavailable"): ...


class Unauthenticated(RequestError, code=16, status="UNAUTHENTICATED", reason="unauthenticated"): ...


class RunFailed(InferdError):
    """ONNX Runtime failed to run a model. Its text names the operator and holds no value of a request, so that the log may have it.

    `words` is what ONNX Runtime said, which may quote values: for runs at load, whose values are made or the operator's own.
    """

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


class ConfigError(InferdError):
    """A setting, a flag or a model's configuration is wrong: names the field and the cure. Exit code 2."""


class StartError(InferdError):
    """The server cannot start although its configuration is right. Exit code 3."""
