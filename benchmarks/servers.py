"""The servers that are measured, each a process of its own on a free loopback port: inferd, nghttpd and nginx.

Whatever is started here is ended here, by its own process id.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATIC_NBYTES = 120  # of nghttpd's file and nginx's answer: about the size of a small inference's answer
START_TIMEOUT_S = 60.0
NGINX_CONFIG = """\
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; http2_max_concurrent_streams 1024;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}{version}; location / {{ return 200 "{content}"; }} }}
}}
"""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    pid: int
    address: str  # host:port
    start_s: float  # from exec until it answered
    further: tuple[str, ...] = ()  # host:port of inferd's further ports, as --listen named them
    metrics: str = ""  # and of its metrics
    http: str = ""  # and of REST


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(command: Sequence[str], log: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """Runs a program until the block ends, its stderr in `log`; SIGTERM, then SIGKILL."""
    with log.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as started:
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(timeout=40)
            except subprocess.TimeoutExpired:
                started.kill()


@contextmanager
def inferd(name: str, paths: Sequence[Path], folder: Path, *flags: str, python: Sequence[str] = (sys.executable,)) -> Iterator[Running]:
    """`inferd serve PATHS` with free ports, once it has said that it is ready. python: the command of the Python that has this inferd."""
    command = [*python, "-m", "inferd", "serve", *map(str, paths), "--grpc-port", "0", "--http-port", "off", "--metrics-port", "0"]
    command += ["--log-level", "warning", *flags]
    log = folder / f"{name.replace(' ', '_')}.log"
    begun = time.monotonic()
    with process(command, log) as started:
        assert started.stdout is not None
        for line in started.stdout:
            word, _, rest = line.partition(" ")
            if word == "ready":
                told = json.loads(rest)
                further = tuple(address.removeprefix("plaintext:") for address in told.get("listen", ()))
                ports = told.get("metrics", ""), told.get("http", "")
                yield Running(name, started.pid, told["grpc"], time.monotonic() - begun, further, *ports)
                return
        raise RuntimeError(f"{name} ended before it was ready:\n{log.read_text()}")


@contextmanager
def nghttpd(folder: Path, under: Sequence[str] = ()) -> Iterator[Running]:
    """nghttp2's own server with one thread and one static file. under: the command of a program that runs it, such as valgrind."""
    documents = folder / "nghttpd"
    documents.mkdir()
    (documents / "file").write_bytes(b"x" * STATIC_NBYTES)
    port = free_port()
    command = [*under, "nghttpd", "-d", str(documents), "--no-tls", "-n1", "--address=127.0.0.1", str(port)]
    with process(command, folder / "nghttpd.log") as started, answering("nghttpd", started, port) as running:
        yield running


@contextmanager
def nginx(folder: Path, *, http2: bool = True) -> Iterator[Running]:
    """nginx with one worker, answering from memory over HTTP/2 without TLS, or over HTTP/1.1."""
    own = folder / "nginx"
    own.mkdir()
    port = free_port()
    version = "; http2 on" if http2 else ""
    (own / "nginx.conf").write_text(NGINX_CONFIG.format(folder=own, port=port, version=version, content="x" * STATIC_NBYTES))
    command = ["nginx", "-p", str(own), "-e", str(own / "error.log"), "-c", str(own / "nginx.conf")]
    with process(command, folder / "nginx.log") as started, answering("nginx", started, port) as running:
        yield running


@contextmanager
def answering(name: str, started: subprocess.Popen[str], port: int) -> Iterator[Running]:
    """Waits until the port takes connections."""
    begun = time.monotonic()
    while time.monotonic() - begun < START_TIMEOUT_S:
        if started.poll() is not None:
            raise RuntimeError(f"{name} ended with {started.returncode} before it answered")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
            continue
        yield Running(name, started.pid, f"127.0.0.1:{port}", time.monotonic() - begun)
        return
    raise RuntimeError(f"{name} does not answer on port {port}")


def cores() -> int:
    return len(os.sched_getaffinity(0))
