"""All of a run of `inferd bench`: what was asked, of whom, with which settings and versions, and what was measured.

It is one JSON file. The figures of the headline measurement stand at its top, for scripts; what made them stands in `measurements`.
Never in here: how a report looks (terminal, html, export), measuring.
"""

from __future__ import annotations

import os
import platform
import ssl
import time
from collections import Counter
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from inferd import __version__
from inferd.bench.measurement import Latency, Measurement
from inferd.client_inputs.files import read_whole
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.client_inputs.connections import Spoken

SCHEMA = 1
ENDED = "ended early: "  # so begins a notice of a run that did not come to its end
MAX_FILE_BYTES = 256 << 20
MOST = 1e18  # larger numbers are none that anybody measured


class Report(msgspec.Struct, kw_only=True):
    """A run. Readers skip fields that they don't know; a file of another `schema` is rejected."""

    schema: int = SCHEMA
    kind: str  # the mode: single, rounds, steps, ramp, search, stress, soak, versions, mlperf
    target: str
    model: str
    made_unix_s: float = 0.0
    # the headline measurement's own figures
    requests: int = 0
    errors: dict[str, int] = {}  # gRPC code's name -> how many
    requests_per_second: float = 0.0
    latency_us: Latency = Latency()
    client_cpu_us_per_request: float = 0.0
    client_bound: bool = False
    headline: int = 0  # its place in `measurements`
    summary: dict[str, Any] = {}  # the mode's own findings; "words": the same as sentences, "comparisons": of versions
    verdict: dict[str, Any] = {}  # word, sentence, confidence, because: see conclusion.py
    command: str = ""  # what was typed, without secrets
    notices: list[str] = []  # what a reader must know
    settings: dict[str, Any] = {}  # every flag in force
    versions: dict[str, str] = {}  # of what took part
    measurements: list[Measurement] = []

    @property
    def main(self) -> Measurement | None:
        """The headline measurement; None where nothing was measured."""
        return self.measurements[self.headline] if 0 <= self.headline < len(self.measurements) else None

    @property
    def wrong(self) -> int:
        """Wrong responses in all measurements."""
        return sum(measured.verified.wrong for measured in self.measurements if measured.verified)

    @property
    def unchecked(self) -> int:
        """Responses in all measurements that should have been checked and were not."""
        return sum(measured.verified.unchecked for measured in self.measurements if measured.verified)

    @property
    def answered(self) -> int:
        """Requests with an OK response, in all measurements."""
        return sum(measured.requests - measured.failed for measured in self.measurements)

    @property
    def failures(self) -> Counter[str]:
        """How many requests failed with each code, in all measurements."""
        return sum((Counter(measured.errors) for measured in self.measurements), Counter())

    @property
    def is_unverified(self) -> bool:
        """Whether responses were to be checked, and none was."""
        checks = [measured.verified for measured in self.measurements if measured.verified]
        return bool(checks) and not any(verified.checked for verified in checks)


def make(
    kind: str,
    target: str,
    model: str,
    measurements: Sequence[Measurement],
    *,
    headline: int = 0,
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    summary: Mapping[str, Any] | None = None,
    notices: Sequence[str] = (),
    command: str = "",
) -> Report:
    """A report of measurements, whose `headline`th gives the figures at the top (negative: counted from the end)."""
    report = Report(
        kind=kind,
        target=target,
        model=model,
        made_unix_s=time.time(),
        headline=headline % max(len(measurements), 1),
        settings=dict(settings or {}),
        versions=dict(versions or {}),
        summary=dict(summary or {}),
        notices=list(notices),
        command=command,
        measurements=list(measurements),
    )
    if (main := report.main) is not None:
        report.requests, report.errors, report.requests_per_second = main.requests, dict(main.errors), main.requests_per_second
        report.latency_us, report.client_cpu_us_per_request = main.latency_us, main.client_cpu_us_per_request
        report.client_bound = main.client_bound
    return report


def save(report: Report, path: str | Path) -> None:
    """Writes it as JSON. InferdError if the file cannot be written."""
    write_text(path, msgspec.json.format(msgspec.json.encode(report, enc_hook=spelled), indent=2).decode() + "\n")


def load(path: str | Path) -> Report:
    """Reads a saved report. ConfigError says what is wrong with the file."""
    text = read_whole(path, str(path), MAX_FILE_BYTES, "`inferd bench --json` writes no such report")
    try:
        schema = msgspec.json.decode(text, type=Schema).schema
        if schema != SCHEMA:
            raise ConfigError(f"{path}: expected a report of schema {SCHEMA}, got {schema}: made by another version of inferd")
        report = msgspec.json.decode(text, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: expected a report that `inferd bench --json` wrote: {error}") from None
    if report.main is None and report.measurements:
        raise ConfigError(f"{path}: headline: expected one of {len(report.measurements)} measurements, got {report.headline}")
    for place, measured in enumerate(report.measurements):
        if wrong := impossible(measured):
            raise ConfigError(f"{path}: measurements[{place}]: {wrong}: no report that `inferd bench --json` wrote has that")
    return report


def impossible(measured: Measurement) -> str:
    """The first impossible value of a measurement in a file, in words; empty: there is none."""
    numbers: dict[str, float] = {f"errors[{code!r}]": count for code, count in measured.errors.items()}
    numbers |= {name: getattr(measured, name) for name in ("requests", "duration_s", "requests_per_second", "client_cpu_us_per_request")}
    numbers |= {f"latency_us.{name}": value for name, value in msgspec.structs.asdict(measured.latency_us).items()}
    for place, interval in enumerate(measured.intervals):
        numbers |= {f"intervals[{place}].{name}": value for name, value in msgspec.structs.asdict(interval).items() if name != "at_s"}
    for name, number in numbers.items():
        if not 0 <= number < MOST:
            return f"{name}: expected from 0 to {MOST:g}, got {number:g}"
    if measured.failed > measured.requests:
        return f"errors: expected at most as many as its {measured.requests} requests, got {measured.failed}"
    return ""


class Schema(msgspec.Struct):
    """The field that every schema of a report has."""

    schema: int


def spelled(value: object) -> object:
    """Flags are whatever the command line made of them: paths, and values with a text of their own."""
    return str(value)


def check_writable(path: str | Path) -> None:
    """Before a long run: ConfigError if no file could be written there afterwards."""
    folder = Path(path).absolute().parent
    if Path(path).is_dir():
        raise ConfigError(f"{path}: expected a file to write, it is a folder")
    if not folder.is_dir():
        raise ConfigError(f"{path}: its folder does not exist: make it first")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise ConfigError(f"{path}: cannot be written: no permission")


def write_text(path: str | Path, text: str) -> None:
    """Replaces a file at once, so that nobody reads half of it; a pipe or device is written to. InferdError if it cannot be."""
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            place.write_text(text, encoding="utf-8")
            return
        place = place.resolve()  # through a link, not over it
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(place)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InferdError(f"{path}: cannot be written: {error.strerror}") from None


def versions_here(server: str = "", spoken: Spoken | None = None) -> dict[str, str]:
    """Versions of the software on this side, and of `server` by its own words; over TLS the protocols, too."""
    found = {
        "inferd": __version__,
        "server": server,
        "python": platform.python_version(),
        "libnghttp2": nghttp2_version(),
        "tls": str(spoken or ""),
        "openssl": ssl.OPENSSL_VERSION if spoken else "",
        "onnxruntime": package_version("onnxruntime") or package_version("onnxruntime-gpu"),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": f"{cpu_name()}, {usable_cores()} cores",
    }
    return {name: text for name, text in found.items() if text}


def nghttp2_version() -> str:
    try:
        return str(import_module("inferd._core.http2.session").nghttp2_version_text())
    except (ImportError, ValueError):  # not built; built apart from its neighbours
        return ""


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def cpu_name() -> str:
    """As the kernel has it; the architecture where it has no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
