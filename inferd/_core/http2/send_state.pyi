from inferd._core.http2.poller import Polled
from inferd._core.http2.server_state import ServerState
from inferd.errors import RequestError

class SendState(Polled):
    server: ServerState
    state: int
    rejection: RequestError | None
    def flush(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
