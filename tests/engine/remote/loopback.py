"""An HTTP server on loopback, from `with` to its end. Never in here: responses."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class LoopbackServer:
    """handler: its class finds this server as `server_of_test`. go: set at the end, for handlers that wait."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], address: str = "127.0.0.1") -> None:
        self.go = threading.Event()
        self._http = ThreadingHTTPServer((address, 0), type("Handler", (handler,), {"server_of_test": self}))
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.host = f"{address}:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.go.set()
        self._http.shutdown()
        self._http.server_close()
