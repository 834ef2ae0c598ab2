from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from inferd._core.grpc.call import Call, Work
from inferd._core.http2.low_water import Gathering
from inferd.errors import RequestError

_Method: TypeAlias = Any  # a row of the service table, see inferd/serving/method.py: the core reads its attributes

class ServerState:
    def __init__(
        self,
        methods: Mapping[str, _Method],
        *,
        start: Callable[[Any, _Method], None],
        reject: Callable[[Call, Exception], None],
        unserved: Callable[[str], RequestError],
        schedule: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], Any],
        run_on_thread: Callable[[Any, Work], Any],
        authenticator: Callable[[Any, bytes | None], bool] | None = None,
        compression: str = "none",
        **limits: int,
    ) -> None: ...
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
