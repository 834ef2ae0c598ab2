from typing import Final, final

from inferd._core.grpc.call import Call
from inferd._core.http.head import Head
from inferd._core.net.stream_socket import StreamSocket

@final
class Credentials: ...

class HttpCall(Call):
    connection: Final[StreamSocket | None]
    @property
    def head(self) -> Head | None: ...
    def go_on(self) -> None: ...
    def send_compressed(self) -> None: ...
