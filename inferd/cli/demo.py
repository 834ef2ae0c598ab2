"""`inferd demo`: a real server process, real requests, real responses. Nothing is faked.

The server serves the example models, which come with the package, on free ports. The requests are images of handwritten digits that the
model was not trained on.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import inferd
from inferd.cli.exit_codes import ExitCode
from inferd.cli.number import Whole
from inferd.cli.say import aligned, near_path
from inferd.cli.serve import require_onnxruntime
from inferd.cli.start_screen import command_name
from inferd.client_inputs.targets import require_client
from inferd.errors import ConfigError, InferdError, StartError

if TYPE_CHECKING:
    from inferd.tensors import Array

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40
SHADES = " .:-=+*#%@"
SHOWN = 5  # images that are drawn


@click.command()
@click.option("--examples", metavar="FOLDER", help="Where the example models and images are.  [default: the package's own]")
@click.option("--requests", default=2000, show_default=True, type=Whole(1, 1_000_000), help="Requests that are sent in parallel.")
@click.option("--concurrency", default=64, show_default=True, type=Whole(1, 10_000), help="Requests in flight at once.")
def demo(examples: str | None, requests: int, concurrency: int) -> int:
    """Serve the example models, send real requests, show responses and latency."""
    require_onnxruntime()
    client = require_client()
    folder = _examples(examples)
    images, labels = _samples(folder)
    click.echo(f"1. Starting a server: inferd serve {near_path(folder / 'models')} --grpc-port 0 --http-port 0 --metrics-port 0\n")
    before = time.perf_counter()
    server = ServerProcess(folder)
    try:
        addresses = server.wait_until_ready()
        click.echo(f"   ready after {time.perf_counter() - before:.2f} s: gRPC on {addresses['grpc']}, metrics on {addresses['metrics']}\n")
        address = str(addresses["grpc"])
        _show_responses(client, address, images, labels)
        _show_load(client, address, images, labels, requests, concurrency)
        _show_batches(client, address)
    finally:
        code = server.stop()
    if code != 0:
        raise InferdError(f"the server ended with {code} instead of 0")
    click.echo("5. The server served the queued requests, said GOAWAY and ended with 0.\n")
    click.echo(_next_steps(folder))
    return ExitCode.OK


def _examples(given: str | None) -> Path:
    source = Path(inferd.__file__).parent.parent  # in a clone; of an installed package the folder holds whatever else is installed
    own = source / "examples" if (source / "pyproject.toml").is_file() else Path(__file__).parent / "examples"
    folder = Path(given) if given else own
    if not (folder / "models" / "digits").is_dir():
        raise ConfigError(
            f"examples: expected a folder with models/digits in it, got '{near_path(folder)}'; name it with --examples FOLDER"
        )
    return folder


def _samples(folder: Path) -> tuple[Array, Array]:
    """Images FP32 [n, 8, 8] from 0 to 16, and the digits that they show."""
    import numpy as np

    with np.load(folder / "digits_sample.npz", allow_pickle=False) as sample:
        return sample["image"], sample["label"]


class ServerProcess:
    """`inferd serve` as a child process. Its log is shown as it comes; its environment has no INFERD_ settings."""

    def __init__(self, folder: Path) -> None:
        source = str(Path(inferd.__file__).parent.parent)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (source, variables.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "inferd", "serve", "models", "--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
        self._process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self._ready = threading.Event()
        self._addresses: dict[str, Any] | None = None
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read_output, self._read_log)]
        for thread in self._threads:
            thread.start()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.partition(" ")
            if word == "ready":
                self._addresses = json.loads(rest)
                self._ready.set()
        self._ready.set()  # the end of the output: the server is gone

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            click.echo(click.style(f"   server | {line.rstrip()}", dim=True), err=True)

    def wait_until_ready(self) -> dict[str, Any]:
        """The addresses of the `ready` line. StartError when it does not come."""
        if not self._ready.wait(START_TIMEOUT_S):
            raise StartError(f"the server was not ready after {START_TIMEOUT_S} s")
        if self._addresses is None:
            raise StartError(f"the server ended with {self._process.wait()} before it was ready; its log is above")
        return self._addresses

    def stop(self) -> int:
        """SIGTERM, then wait for the end; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            code = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return code


def _show_responses(client: Any, address: str, images: Array, labels: Array) -> None:
    click.echo(f"2. One image a request, as `inferd infer {address} digits --input digit.npy` does:\n")
    with client.Client(address, timeout=10) as connection:
        responses = [connection.infer("digits", {"image": image[None]}) for image in images[:SHOWN]]
    for line in range(images.shape[1]):
        click.echo(
            "   " + "   ".join("".join(SHADES[min(int(value * 9 / 16), 9)] * 2 for value in image[line]) for image in images[:SHOWN])
        )
    width = images.shape[2] * 2 + 1
    rows = {
        "label": [str(label) for label in labels[:SHOWN]],
        "model": [f"{response['label'][0]} ({response['probabilities'].max():.1%})" for response in responses],
    }
    for name, cells in rows.items():
        click.echo("   " + "  ".join(f"{f'{name} {cell}':<{width}}" for cell in cells))
    click.echo()


def _show_load(client: Any, address: str, images: Array, labels: Array, requests: int, concurrency: int) -> None:
    click.echo(f"3. {requests:,} requests, {concurrency} in flight at once, each with its own image:\n")
    elapsed_s, latencies_s, right = asyncio.run(_load(client, address, images, labels, requests, concurrency))
    latencies_s.sort()
    p50, p99 = (1000 * latencies_s[int(len(latencies_s) * quantile)] for quantile in (0.5, 0.99))
    click.echo(
        f"   {requests / elapsed_s:,.0f} requests/s; latency p50 {p50:.2f} ms, p99 {p99:.2f} ms; {right / requests:.1%} of the digits right"
    )
    click.echo("   (both as this Python client sees them, and it is the bottleneck: see docs/performance.md for the server's own cost)\n")


async def _load(client: Any, address: str, images: Array, labels: Array, requests: int, concurrency: int) -> tuple[float, list[float], int]:
    """Seconds in all, seconds of each request, and how many responses were the image's label."""
    latencies_s: list[float] = []
    right = 0
    numbers = iter(range(requests))

    async def ask(connection: Any) -> None:
        nonlocal right
        for number in numbers:
            at = number % len(images)
            before = time.perf_counter()
            response = await connection.infer("digits", {"image": images[at : at + 1]}, outputs=["label"])
            latencies_s.append(time.perf_counter() - before)
            right += int(response["label"][0] == labels[at])

    async with client.AsyncClient(address, timeout=30) as connection:
        await connection.infer("digits", {"image": images[:1]})  # the connection is open before the clock runs
        before = time.perf_counter()
        await asyncio.gather(*(ask(connection) for _ in range(concurrency)))
        return time.perf_counter() - before, latencies_s, right


def _show_batches(client: Any, address: str) -> None:
    with client.Client(address, timeout=10) as connection:
        (statistics,) = connection.statistics("digits")
    runs = {batch.batch_size: batch.compute_infer.count for batch in statistics.batch_stats}
    click.echo(
        f"4. The server made {statistics.inference_count:,} rows into {statistics.execution_count:,} runs of the model (ModelStatistics):\n"
    )
    for line in _bars(runs):
        click.echo("   " + line)
    click.echo()


def _bars(runs: dict[int, int]) -> list[str]:
    """Runs by batch size: 1, 2, 3-4, 5-8, 9-16 and so on."""
    if not runs:
        return ["no runs"]
    ranges: dict[int, int] = {}
    for size, count in runs.items():
        power = (size - 1).bit_length()
        ranges[power] = ranges.get(power, 0) + count
    most = max(ranges.values())
    lines = []
    for power in sorted(ranges):
        low, high = (1 << power >> 1) + 1, 1 << power
        name = f"{low}-{high}" if low < high else f"{high}"
        lines.append(f"batches of {name:<11} {ranges[power]:>6}  {'#' * max(1, round(40 * ranges[power] / most))}")
    return lines


def _next_steps(folder: Path) -> str:
    name = command_name()
    steps = {
        f"{name} serve {near_path(folder / 'models')}": "gRPC on 127.0.0.1:8001, REST on http://127.0.0.1:8000, metrics on port 8002",
        f"{name} infer localhost:8001 digits --input {near_path(folder / 'digit.npy')}": "from a second terminal",
        f"{name} serve your-model.onnx": "your own model, without any configuration",
        f"{name} doctor": "what this machine can do",
    }
    lines = [f"   {line}" for line in aligned([*steps.items()], "   ")]
    last = "Every client of the Open Inference Protocol (tritonclient, KServe) works unchanged: docs/protocol.md"
    return "\n".join(["Go on with:", *lines, last])
