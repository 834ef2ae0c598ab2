"""A channel from a command to a server, over gRPC or HTTP, for methods that the SDK does not have. The one door to grpcio here."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inferd.client_inputs.connections import explanation
from inferd.client_inputs.reach import explained
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferd.client_inputs.reach import Reach
    from inferd.config import Address


@dataclass
class Asked:
    """The server that a command asks. verb: the command, which errors name."""

    verb: str
    target: Address | str
    reach: Reach
    timeout_s: float

    def opened(self) -> AbstractContextManager[Any]:
        """A grpc.Channel, or the SDK's like it where the target is a URL, closed at the end; a status of the server becomes an
        InferdError."""
        if isinstance(self.target, str):
            return _over_http(self.target, self.reach)
        return _over_grpc(self.target, self.reach, self.verb)

    def call(
        self, method: str, request: Any, response: Any, *, channel: Any = None, meanwhile: Callable[[Any, Any], None] | None = None
    ) -> Any:
        """The response of one method. channel: one that is open already. meanwhile: called with the channel and the future response."""
        if channel is None:
            with self.opened() as channel:
                return self.call(method, request, response, channel=channel, meanwhile=meanwhile)
        call = channel.unary_unary(method, type(request).SerializeToString, response.FromString)
        future = call.future(request, timeout=self.timeout_s, metadata=self.reach.metadata())
        if meanwhile is not None:
            meanwhile(channel, future)
        return future.result()


@contextmanager
def _over_http(target: str, reach: Reach) -> Iterator[Any]:
    from inferd.client_inputs.targets import failure_over_http, require_client

    library = require_client()
    with explained():
        server = library.connection.connection(target, **reach.options(library))
    try:
        with server.channel(server.targets[0]) as channel:
            yield channel
    except library.InferenceError as error:
        raise failure_over_http(server.targets[0], error) from None


@contextmanager
def _over_grpc(target: Address, reach: Reach, verb: str) -> Iterator[Any]:
    try:
        import grpc
    except ImportError:
        raise InferdError(f"`inferd {verb}` needs grpcio: pip install 'inferd[grpcio]'") from None

    from inferd.client_inputs.targets import require_client

    options = [("grpc.enable_http_proxy", 0)]
    if reach.by_tls:
        with explained():
            tls = reach.options(require_client())["tls"]
            channel = grpc.secure_channel(target.for_grpc, tls.credentials(), [*options, *tls.options()])
    else:
        channel = grpc.insecure_channel(target.for_grpc, options)
    try:
        with channel:
            yield channel
    except grpc.RpcError as error:
        why = explanation(target, reach) if error.code() is grpc.StatusCode.UNAVAILABLE else ""
        raise InferdError(f"{target}: {why or f'{error.code().name}: {error.details()}'}") from None


def waited(future: Any, timeout_s: float) -> bool:
    """Whether a call is over, after that time at most."""
    import grpc

    try:
        future.exception(timeout_s)
    except (grpc.FutureTimeoutError, TimeoutError):
        return False
    return True


def tried(call: Callable[[], Any]) -> Any:
    """The response of a call whose failure matters to nobody; None: there is none."""
    try:
        return call()
    except Exception as error:
        if not hasattr(error, "code"):  # gRPC's have one, and HTTP's
            raise
        return None
