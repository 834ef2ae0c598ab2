from collections.abc import Callable

from inferd._core.grpc.call import Call
from inferd._core.http.handler import HttpHandler
from inferd._core.http.head import Head
from inferd._core.inference.path import Route
from inferd._core.inference.routes import Routes
from inferd._core.rest.request import RestRequest

class RestInfer(HttpHandler):
    def __init__(self, routes: Routes, find: Callable[[str, str], Route]) -> None: ...
    wait: Callable[[Call, RestRequest], bool] | None
    unpack: Callable[[Call, Head], None]
    raw: Callable[[Call, Head], bool] | None
    def go_on(self, call: Call, request: RestRequest) -> None: ...
