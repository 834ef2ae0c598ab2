"""Real stores on this machine, each with a way to put files into it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[3]
LIMIT_S = 60
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # azurite's own, known to all


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


class Store:
    """A program that serves a port of this machine. environment: by which a client finds it."""

    environment: dict[str, str]

    def __init__(self, command: Sequence[str | Path], port: int, **environment: str) -> None:
        self.port = port
        self._process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | environment
        )
        end_s = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, f"{command} has ended"
                assert time.monotonic() < end_s
                threading.Event().wait(0.02)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> tuple[bytes, dict[str, str]]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/octet-stream", **(headers or {})}, method=method
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
            return response.read(), {name.lower(): value for name, value in response.headers.items()}

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(LIMIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class S3(Store):
    """moto."""

    scheme = "s3"

    def __init__(self) -> None:
        port = free_port()
        super().__init__([sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }

    def make(self, bucket: str) -> None:
        self._signed("PUT", f"/{bucket}")

    def put(self, bucket: str, name: str, content: bytes) -> None:
        self._signed("PUT", f"/{bucket}/{name}", content)

    def delete(self, bucket: str, *names: str) -> None:
        for name in names:
            self._signed("DELETE", f"/{bucket}/{name}")
        self._signed("DELETE", f"/{bucket}")

    def _signed(self, method: str, path: str, content: bytes = b"") -> None:
        """moto looks at who signed, and not at the signature."""
        scope = "Credential=testing/20260101/us-east-1/s3/aws4_request"
        self.ask(method, path, content, {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"})


class GoogleStorage(Store):
    """gcp-storage-emulator, by google_storage.py."""

    scheme = "gs"

    def __init__(self) -> None:
        port = free_port()
        super().__init__([sys.executable, Path(__file__).with_name("google_storage.py"), str(port)], port)
        self.environment = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}

    def make(self, bucket: str) -> None:
        self.ask("POST", "/storage/v1/b", json.dumps({"name": bucket}).encode(), {"Content-Type": "application/json"})

    def put(self, bucket: str, name: str, content: bytes) -> None:
        self.ask("PUT", f"/{bucket}/{name}", content)


class Azure(Store):
    """azurite."""

    scheme = "az"
    account = "devstoreaccount1"

    def __init__(self) -> None:
        port = free_port()
        azurite = ROOT / ".tools" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        command = [
            "node",
            azurite,
            "--inMemoryPersistence",
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--blobPort",
            str(port),
        ]
        super().__init__(command, port)
        self.environment = {
            "AZURE_STORAGE_CONNECTION_STRING": f"AccountName={self.account};AccountKey={AZURE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{self.account}"
        }

    def make(self, container: str) -> None:
        self._signed(f"/{container}?restype=container", b"", {})

    def put(self, container: str, name: str, content: bytes) -> None:
        self._signed(f"/{container}/{name}", content, {"x-ms-blob-type": "BlockBlob"})

    def _signed(self, target: str, content: bytes, headers: dict[str, str]) -> None:
        """A PUT by SharedKey."""
        headers |= {"x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": "2021-12-02"}
        headers["Content-Type"] = "application/octet-stream"
        path, _, query = target.partition("?")
        named = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        asked = "".join(f"\n{part.replace('=', ':')}" for part in sorted(filter(None, query.split("&"))))
        words = ["PUT", "", "", str(len(content) or ""), "", headers["Content-Type"], "", "", "", "", "", ""]
        text = "\n".join(words) + "\n" + named + f"/{self.account}/{self.account}{path}{asked}"
        signature = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), "sha256")).decode()
        self.ask("PUT", f"/{self.account}{target}", content, headers | {"Authorization": f"SharedKey {self.account}:{signature}"})


class Registry(Store):
    """docker-registry. login: "user", "password" that it asks for."""

    def __init__(self, folder: Path, htpasswd: str = "") -> None:
        port = free_port()
        self.folder = folder
        program = shutil.which("docker-registry", path=f"{os.environ['PATH']}:{ROOT / '.tools' / 'bin'}")
        assert program, "scripts/system-packages test gets docker-registry"
        auth = ""
        if htpasswd:
            (folder / "htpasswd").write_text(htpasswd)
            auth = f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"
        config = folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'blobs'}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
        )
        super().__init__([program, "serve", config], port)
        self.host = f"127.0.0.1:{port}"
        self.authorization: dict[str, str] = {}

    def blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Pushes a blob. What a manifest says of it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        _, headers = self.ask("POST", f"/v2/{repository}/blobs/uploads/", headers=self.authorization)
        path = headers["location"].split(self.host, 1)[-1]
        where = f"{path}{'&' if '?' in path else '?'}digest={digest}"
        self.ask("PUT", where, content, {"Content-Type": "application/octet-stream", **self.authorization})
        return {"digest": digest, "size": len(content)}

    def manifest(self, repository: str, tag: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Pushes a manifest or an index. What an index says of it."""
        body, kind = json.dumps(manifest).encode(), manifest["mediaType"]
        self.ask("PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": kind, **self.authorization})
        return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(body).hexdigest()}", "size": len(body)}

    def image(self, repository: str, tag: str, *layers: bytes, kind: str = "application/vnd.oci.image.layer.v1.tar+gzip") -> dict[str, Any]:
        """Pushes an image of these layers."""
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", **self.blob(repository, b"{}")}
        listed = [{"mediaType": kind, **self.blob(repository, layer)} for layer in layers]
        kind_of_manifest = "application/vnd.oci.image.manifest.v1+json"
        return self.manifest(repository, tag, {"schemaVersion": 2, "mediaType": kind_of_manifest, "config": config, "layers": listed})
