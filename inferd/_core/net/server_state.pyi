from collections.abc import Callable
from typing import Any

from inferd._core.grpc.call import Call, Work
from inferd._core.net.low_water import Gathering

class ServerState:
    def __init__(
        self,
        *,
        reject: Callable[[Call, Exception], None],
        schedule: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], Any],
        run_on_thread: Callable[[Any, Work], Any],
        authenticator: Callable[[Any, bytes | None], bool] | None = None,
        compression: str = "none",
        http_handler: object = None,
        infer_method: str = ...,
        **limits: int,
    ) -> None: ...
    http_handler: Any
    infer_method: str
    gathering: Gathering
    limits: dict[str, int]
    totals: dict[str, int]
    connections: int
    calls: int
    lingering: dict[Any, None]  # of LingeringClose
    stopping: bool
    def flush(self) -> None: ...
    def flush_scheduled_output(self) -> None: ...
    def set_keepalive(
        self, min_ping_interval_ns: int, keepalive_ns: int, keepalive_timeout_ns: int, max_idle_ns: int, age_grace_ns: int
    ) -> None: ...
    def credentials_changed(self) -> None: ...
