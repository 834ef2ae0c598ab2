"""An S3 store that does not stop: on loopback, for clients that must."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import Any

from tests.engine.remote.loopback import LoopbackServer

START = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
OBJECT = "<Contents><Key>m/{}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;1&quot;</ETag></Contents>"
MORE = "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken></ListBucketResult>"
PIECE = b" " * (1 << 20)
PAGE = 1000


class HostileStore(LoopbackServer):
    """From `with` to its end. how: of its list. "endless": one response without an end; "empty": pages without objects, always another
    one; "full": the same with objects; "hangs": a request without a response. sent: bytes of an endless response. asked: pages."""

    def __init__(self, how: str) -> None:
        self.how, self.sent, self.asked = how, 0, 0
        self.numbers = count()
        self.came = threading.Event()
        super().__init__(_Handler)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{self.host}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: HostileStore

    def do_GET(self) -> None:
        store = self.server_of_test
        store.asked += 1
        store.came.set()
        if store.how == "hangs":
            store.go.wait(60)
        objects = "".join(OBJECT.format(next(store.numbers)) for _ in range(PAGE if store.how == "full" else 0))
        body = (START + objects + ("" if store.how == "endless" else MORE.format(store.asked))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header(*(("Connection", "close") if store.how == "endless" else ("Content-Length", str(len(body)))))
        self.end_headers()
        try:
            self.wfile.write(body)
            while store.how == "endless" and not store.go.is_set():
                self.wfile.write(PIECE)
                store.sent += len(PIECE)
        except OSError:
            self.close_connection = True

    def log_message(self, *words: Any) -> None:
        pass
