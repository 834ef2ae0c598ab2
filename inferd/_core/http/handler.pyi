from collections.abc import Callable
from typing import final

from inferd._core.grpc.call import Call
from inferd._core.http.head import Head

class HttpHandler:
    def __call__(self, call: Call, head: Head) -> None: ...

@final
class HttpService(HttpHandler):
    def __init__(
        self,
        infer: HttpHandler | Callable[[Call, Head], None],
        others: HttpHandler | Callable[[Call, Head], None],
        screens: Callable[[Call, Head], None] | None = None,
        admits: Callable[[Call, Head], None] | None = None,
    ) -> None: ...
