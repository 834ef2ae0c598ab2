from inferd._core.http2.poller import Polled
from inferd._core.http2.server_state import ServerState

class SendState(Polled):
    server: ServerState
    state: int
    written_nbytes: int
    def flush(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
