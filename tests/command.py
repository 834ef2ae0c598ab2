"""The `inferd` command as a user runs it: real processes, without the developer's INFERD_ variables.

`run` waits for the end; `Serving` is a server that is ready. Both start no shell and find inferd where the tests do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import inferd

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TIMEOUT_S = 60
GRPC_ALONE = ("--grpc-port", "0", "--http-port", "off", "--metrics-port", "off")
FREE_PORTS = ("--grpc-port", "0", "--http-port", "off", "--metrics-port", "0")


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings, so that a run elsewhere imports the same inferd."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(inferd.__file__).parents[1]), kept.get("PYTHONPATH"))))
    return kept | variables


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "inferd", *map(str, arguments)]


def run(*arguments: str | Path, folder: Path, input: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `inferd ARGUMENTS` did in `folder`."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=folder,
        env=environment(**variables),
        input=input,
        check=False,
    )


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes nothing more: its reading and its writing end, which the block may close."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with suppress(BlockingIOError):
        while os.write(writes, bytes(4096)):
            pass
    os.set_blocking(writes, True)
    try:
        yield reads, writes
    finally:
        for descriptor in (reads, writes):
            with suppress(OSError):
                os.close(descriptor)


class Serving:
    """`inferd serve ARGUMENTS`, ready when the block begins, ended by SIGTERM at its end. A server that ends early fails the test.

    with Serving(folder, model, *FREE_PORTS) as server:
        server.addresses["grpc"]
    """

    def __init__(self, folder: Path, *arguments: str | Path, **variables: str) -> None:
        self._log = open(folder / "serve.log", "w+")  # noqa: SIM115  # closed by stop()
        self.process = subprocess.Popen(
            command("serve", *arguments), cwd=folder, env=environment(**variables), stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self.addresses: dict[str, Any] = {}
        self.output: list[str] = []
        self.code: int | None = None

    def __enter__(self) -> Self:
        watchdog = threading.Timer(TIMEOUT_S, self.process.kill)
        watchdog.start()
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self.output.append(line)
                if line.startswith("ready "):
                    self.addresses = json.loads(line.removeprefix("ready "))
                    return self
        finally:
            watchdog.cancel()
        self.stop()
        raise AssertionError(f"the server ended with {self.code} before it was ready:\n{self.log}")

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after the signal; once it has ended, the same again."""
        if self.code is None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                rest, _ = self.process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                rest, _ = self.process.communicate()
            self.output.append(rest or "")
            self.code = self.process.returncode
            self._log.seek(0)
            self.log = self._log.read()
            self._log.close()
        return self.code
