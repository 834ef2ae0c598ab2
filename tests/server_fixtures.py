"""A real server for a test: both transports, on threads of this process or as a program of its own. Never a fixed port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import uvloop

from inferd.config import Settings
from inferd.serving.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from inferd.part import Part

TRANSPORTS = ("native", "grpcio")
LIMIT_S = 60  # longer than anything a test does; reaching it is a failure


def until(holds: Callable[[], bool]) -> None:
    """Lets a server's threads work until something is so."""
    pause, end_s = threading.Event(), time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end_s
        pause.wait(0.0005)


def measured(parts: Iterable[Part], name: str) -> dict[tuple[str, ...], float]:
    return {labels: values[0] for part in parts for table in part.metrics() if table.name == name for labels, values in table.rows}


class ServerFixture:
    """A Server on an event loop of its own thread, from `with` to its end.

    address, http, metrics: "127.0.0.1:port"; REST is served with http_port=0. server: the Server; touch it only through `on_loop`.
    """

    def __init__(self, *models: str | Path, transport: str = "native", **settings: Any) -> None:
        values = {"grpc_port": 0, "http_port": -1, "metrics_port": 0, "drain_timeout_s": 5, "uvloop": True} | settings
        self.settings = Settings(models=tuple(map(str, models)), transport=transport, **values)
        self.addresses: dict[str, Any] = {}
        self.server: Server
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    @property
    def address(self) -> str:
        return str(self.addresses["grpc"])

    @property
    def http(self) -> str:
        return str(self.addresses["http"])

    @property
    def metrics(self) -> str:
        return str(self.addresses["metrics"])

    @property
    def transport(self) -> str:
        return self.settings.transport

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """What `function` returns, or the coroutine that it returns, on the server's loop."""

        async def run() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(LIMIT_S)

    def measured(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of one metric of the server, by its labels' values; nothing where it has none of that name."""
        return measured(self.server.parts, name)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._started.result(LIMIT_S)
        except BaseException:
            self._thread.join(LIMIT_S)  # its loop is closed, too
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "the server does not stop"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if self.settings.uvloop else asyncio.new_event_loop) as runner:
            self._loop = runner.get_loop()
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            self.server = Server(self.settings)
            self.addresses = await self.server.start()
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        await self._stop.wait()
        await self.server.stop()


class Program:
    """`python -m inferd serve ...` as a process, until `with` ends. stdout's ready line is read; stderr is kept."""

    def __init__(self, *arguments: str | Path, environment: dict[str, str] | None = None, entry: Sequence[str] = ("-m", "inferd")) -> None:
        """entry: what the interpreter runs."""
        ports = ("--http-port", "off", "--grpc-port", "0", "--metrics-port", "0")
        command = [sys.executable, *entry, "serve", *ports, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | (environment or {})
        )
        self.addresses: dict[str, Any] = {}
        self.errors = ""
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        return str(self.addresses["grpc"])

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), (line, self.errors)
        self.addresses = json.loads(line.removeprefix("ready "))
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signals the program and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
