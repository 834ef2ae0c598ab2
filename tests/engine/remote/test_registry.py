"""Artefacts of a real registry: images with /models, for several platforms, with damaged and unsupported layers, behind a login."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from inferd.engine.remote import cache as caches
from inferd.engine.remote.cache import Cache
from inferd.engine.remote.fetching import fetch, has_changed
from inferd.engine.remote.location import Location
from inferd.engine.remote.registry import MACHINES, RegistrySource
from inferd.engine.remote.until import Until
from inferd.errors import ConfigError, StartError
from tests.engine.remote.archives import archive
from tests.engine.remote.stores import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
# user "inferd", password "s3cret"
HTPASSWD = "inferd:$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    yield Cache(tmp_path / "cache")
    caches.release()


def test_an_artefact_is_fetched_for_this_platform(registry: Registry, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    base = archive({"etc/motd": b"not ours", "models/1/model.onnx": b"base", "models/old.bin": b"old"}, links={"bin": "usr/bin"})
    images = {
        name: registry.image("team/digits", name, base, archive({"models/1/model.onnx": name.encode(), "models/.wh.old.bin": b""}))
        for name in MACHINES.values()
    }
    entries = [{**image, "platform": {"os": "linux", "architecture": name}} for name, image in images.items()]
    registry.manifest("team/digits", "1.0", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    url = f"oci://{registry.host}/team/digits:1.0"
    for machine, name in MACHINES.items():
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        path = fetch(url, cache)
        assert path.name == "digits"
        assert {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()} == {
            "1/model.onnx": name.encode()
        }
    assert not has_changed(url, path)
    registry.image("team/digits", "1.0", archive({"models/1/model.onnx": b"new"}))
    assert has_changed(url, path)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    pinned = registry.manifest("team/digits", "all", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})["digest"]
    with pytest.raises(StartError, match="is there for linux/amd64, linux/arm64, and not for linux/riscv64"):
        fetch(f"oci://{registry.host}/team/digits@{pinned}", cache)


def test_a_damaged_layer_is_rejected_by_its_digest(registry: Registry, cache: Cache) -> None:
    layer = archive({"models/damaged.onnx": b"one"})
    digest = registry.blob("team/damaged", layer)["digest"].removeprefix("sha256:")
    registry.image("team/damaged", "latest", layer)
    stored = registry.folder / "blobs" / "docker" / "registry" / "v2" / "blobs" / "sha256" / digest[:2] / digest / "data"
    stored.write_bytes(bytes(reversed(layer)))
    with pytest.raises(StartError, match=f"'000' has the sha256 [0-9a-f]{{64}}, and the source says {digest}"):
        fetch(f"oci://{registry.host}/team/damaged", cache)


def test_what_cannot_be_used_is_an_error_with_its_cure(registry: Registry, cache: Cache) -> None:
    registry.image("team/zstd", "latest", b"\x28\xb5\x2f\xfd", kind="application/vnd.oci.image.layer.v1.tar+zstd")
    registry.image("team/other", "latest", archive({"model/model.onnx": b"one"}))
    for path, said in {
        "team/zstd": "layer 0 is compressed with zstd.*--dest-compress-format gzip",
        "team/other": "there are no files in /models of the artefact",
        "team/none:1": "the server responded with 404",
    }.items():
        with pytest.raises(StartError, match=said):
            fetch(f"oci://{registry.host}/{path}", cache)
    with pytest.raises(ConfigError, match="expected no user or password in a URL of oci://"):
        fetch(f"oci://me:s3cret@{registry.host}/team/zstd", cache)


def test_the_login_of_docker_is_used(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = base64.b64encode(b"inferd:s3cret").decode()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Registry(tmp_path, HTPASSWD) as registry:
        registry.authorization = {"Authorization": f"Basic {pair}"}
        registry.image("private", "latest", archive({"models/model.onnx": b"one"}))
        url = f"oci://{registry.host}/private"
        with pytest.raises(StartError, match=r"does not let these credentials read it \(401\): try `docker login`"):
            fetch(url, cache)
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
        assert (fetch(url, cache) / "model.onnx").read_bytes() == b"one"


class TokenServer(BaseHTTPRequestHandler):
    """What stands before the registries of clouds: it asks for a token, gives one for a login, and redirects to where the bytes lie."""

    protocol_version = "HTTP/1.1"
    target = ""
    login = ""
    token = b'{"token": "t0ken"}'

    def do_GET(self) -> None:
        host, body, headers = self.headers["Host"], b"", {}
        if self.path.startswith("/token?service=test&scope=repository%3Ateam%2Ftoken%3Apull"):
            status, body = (200, self.token) if self.headers.get("Authorization") == self.login else (401, b"")
        elif self.headers.get("Authorization") != "Bearer t0ken":
            status = 401
            headers["WWW-Authenticate"] = f'Bearer realm="http://{host}/token",service="test",scope="repository:team/token:pull"'
        else:
            status, headers["Location"] = 307, f"http://{self.target}{self.path}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


def test_a_token_is_fetched_for_a_login(registry: Registry, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.image("team/token", "latest", archive({"models/model.onnx": b"one"}))
    pair = base64.b64encode(b"inferd:s3cret").decode()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    handler = type("Handler", (TokenServer,), {"target": registry.host, "login": f"Basic {pair}"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        with pytest.raises(StartError, match="token server does not take these credentials"):
            fetch(f"oci://{host}/team/token", cache)
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
        assert (fetch(f"oci://{host}/team/token", cache) / "model.onnx").read_bytes() == b"one"
        for token, said in {bytes(2 << 20): "sent more than 1 MiB", b"[" * 100_000: "sent no token"}.items():
            handler.token = token
            with pytest.raises(StartError, match=said):
                fetch(f"oci://{host}/team/other", cache)
        server.shutdown()


@pytest.mark.parametrize(
    ("realm", "trusted"),
    [
        ("https://auth.example/token", True),
        ("http://127.0.0.1:5000/token", True),
        ("http://127.0.0.1:50001/token", False),
        ("http://127.0.0.1:5000@example.com/token", False),
        ("http://[", False),
    ],
)
def test_a_login_goes_to_no_other_server_in_plain_text(realm: str, trusted: bool) -> None:
    assert RegistrySource(Location.of("oci://127.0.0.1:5000/team/model"), Until(1))._trusts(realm) == trusted
