"""What a session does around a measurement."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inferd.bench.generator import WORKER_DIED
from inferd.bench.measurement import Load, ServerSide
from inferd.bench.session import Checks, Session
from inferd.client_inputs.reach import Reach
from inferd.errors import InferdError
from tests import models
from tests.certificates import Files
from tests.reports import measurement
from tests.server_fixtures import ServerFixture

FEW = Load(connections=2, streams=2, requests=40, duration_s=0.0, warm_up_s=0.0)


class Reader:
    """Notes what it is told."""

    def after(self, *told: float, **named: float) -> ServerSide:
        self.told, self.named = told, named
        return ServerSide()


def test_the_server_is_asked_about_what_was_sent_and_what_was_answered() -> None:
    measured, reader = measurement(errors={"INTERNAL": 7}, sent=20_000, ended="interrupted"), Reader()
    any_session: Any = object.__new__(Session)
    any_session._look_after(reader, measured)
    assert reader.told == (20_000, measured.requests_per_second)
    assert reader.named == {"answered": measured.requests - 7, "hurried": True, "sent_more": False}


def test_what_a_worker_that_died_has_sent_is_not_known_to_be_all() -> None:
    measured, reader = measurement(sent=20_000, ended=WORKER_DIED), Reader()
    any_session: Any = object.__new__(Session)
    any_session._look_after(reader, measured)
    assert reader.named["sent_more"]


# ---- over HTTP


def test_https_with_a_token_and_a_unix_socket(tmp_path: Path) -> None:
    """The server's side comes from the same port, by the same way."""
    files = Files.made(tmp_path / "files")
    model = models.write(tmp_path, "m", models.identity())
    token = str(tmp_path / "token")
    Path(token).touch(0o600)
    Path(token).write_text("a" * 32)
    unix = f"http:unix:{tmp_path / 's'}"
    with ServerFixture(model, http_port=0, metrics_port=-1, listen=(unix,), token_file=token, **files.settings()) as served:
        for url, version in {f"https://{served.http}": "TLSv1.3", f"http+unix:{tmp_path / 's'}": ""}.items():
            reach = Reach(ca=str(files.ca) if version else None, token_file=token)
            with Session(url, "m", [""], {}, reach=reach, checks=Checks(str(model), every=1)) as session:
                measured = session.run(FEW)
            assert (measured.requests, measured.errors, measured.connections_missing) == (40, {}, 0)
            assert measured.verified is not None
            assert (measured.verified.checked, measured.verified.wrong) == (40, 0)
            assert measured.server is not None
            assert measured.server.requests == 40
            assert (getattr(session.spoken, "version", ""), measured.server.rss_bytes is not None) == (version, bool(version))
        with pytest.raises(InferdError, match="give --tls-ca FILE of the authority"):
            Session(f"https://{served.http}", "m", [""], {}, reach=Reach(token_file=token))
        with pytest.raises(InferdError, match="if it speaks TLS, write https://"):
            Session(f"http://{served.http}", "m", [""], {})
    with foreign(echoed) as url, pytest.raises(InferdError, match="but plaintext: give http:// in place of https://"):
        Session(url.replace("http:", "https:"), "m", [""], {})


class Foreign(BaseHTTPRequestHandler):
    """A server of the protocol that knows JSON alone; HTTP/1.0: each response ends its connection."""

    infers: Callable[[Foreign, bytes], tuple[int, bytes]]
    said = {
        "/v2": {"name": "foreign", "version": "1", "extensions": []},
        "/v2/models/m": {"name": "m", "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}], "outputs": []},
    }

    def do_GET(self) -> None:
        found = self.said.get(self.path)
        self.reply(200 if found else 404, json.dumps(found or {"error": "no such path"}).encode())

    def do_POST(self) -> None:
        self.reply(*self.infers(self.rfile.read(int(self.headers["content-length"]))))  # type: ignore[call-arg]

    def reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def echoed(_: Foreign, content: bytes) -> tuple[int, bytes]:
    asked = json.loads(content)
    return 200, json.dumps({"model_name": "m", "outputs": asked["inputs"]}).encode()


@contextmanager
def foreign(infers: Callable[[Foreign, bytes], tuple[int, bytes]], **changed: Any) -> Iterator[str]:
    made = type("Made", (Foreign,), {"infers": infers, **changed})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(60)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_foreign_server_of_json(version: str) -> None:
    with foreign(echoed, protocol_version=version) as url, Session(url, "m", [""], {}) as session:
        measured = session.run(FEW)
    assert (measured.requests, measured.errors, session.server) == (40, {}, "foreign 1")
    assert session.notices == ["tensors travel as JSON: the server does not list binary_tensor_data"]
    assert any("no times of stages" in notice for notice in measured.server.notices)


def test_a_server_that_is_full_rejects(tmp_path: Path) -> None:
    with foreign(lambda *_: (429, b"later"), protocol_version="HTTP/1.1") as url, Session(url, "m", [""], {}) as session:
        measured = session.run(FEW)
    assert (measured.errors, measured.error_messages) == ({"RESOURCE_EXHAUSTED": 40}, {"RESOURCE_EXHAUSTED": "HTTP status 429: later"})


def test_a_server_of_something_else_is_said() -> None:
    with foreign(echoed, said={}) as url, pytest.raises(InferdError, match=r"does not speak the Open Inference Protocol \(no /v2\)"):
        Session(url, "m", [""], {})
