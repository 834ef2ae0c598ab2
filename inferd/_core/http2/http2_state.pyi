from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from inferd._core.net.server_state import ServerState
from inferd.errors import RequestError

_Method: TypeAlias = Any  # a row of the service table, see inferd/part/method.py: the core reads its attributes

class Http2State(ServerState):
    def __init__(
        self,
        methods: Mapping[str, _Method],
        *,
        start: Callable[[Any, _Method], None],
        unserved: Callable[[str], RequestError],
        **state: Any,
    ) -> None: ...
