from collections.abc import Sequence

from inferd._core.load.load_protocol import LoadProtocol

class Http2(LoadProtocol):
    """gRPC over HTTP/2. headers: (name, value) of every request, pseudo-headers first. A grpc-timeout says what is left of the deadline
    where a request was kept here."""

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None: ...
