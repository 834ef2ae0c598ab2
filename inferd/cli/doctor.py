"""`inferd doctor`: what this machine and installation can do for the settings given, and what is missing. Changes nothing.

It tries whatever the settings ask for: each execution provider runs a model of one node.
"""

from __future__ import annotations

import json
import mmap
import platform
import re
import resource
import shutil
import sys
import textwrap
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from inferd import __version__
from inferd.cli.exit_codes import ExitCode
from inferd.cli.options import SettingsCommand, takes_settings
from inferd.config import fields, spell, without_secrets
from inferd.config.share import spelled
from inferd.engine.remote import local_paths
from inferd.errors import InferdError
from inferd.serving.memory.budget import most_bytes, settled
from inferd.system import descriptors
from inferd.system.memory_limit import memory_limit_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.config import Settings
    from inferd.engine.model import Model

# An ONNX model of one node, y = Identity(x), FP32 [1]: what a provider must be able to run. (onnx.helper made it: IR 7, opset 13.)
TINY_MODEL = bytes.fromhex(
    "08073a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)
PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "grpcio", "protobuf", "msgspec", "uvloop", "cryptography", "prometheus-client"),
    "inferd-client",
)
# Inputs that steps of a model's configuration can read, and the package that each needs.
READERS = {"images": "pillow", "audio": "soundfile", "resampling": "soxr", "text": "tokenizers", "Arrow records": "pyarrow"}
EXTRAS = {"images": "image", "audio": "audio", "resampling": "audio", "text": "text", "Arrow records": "table"}


class Fact(NamedTuple):
    """One line: an area, what was looked at, what is there. `missing`: asked for and not there. `note`: works, but worth knowing."""

    area: str
    what: str
    value: str
    missing: bool = False
    note: str = ""


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of findings.")
@takes_settings
def doctor(settings: Settings, origins: dict[str, str], as_json: bool) -> int:
    """Show what this machine and installation can do, and what is missing.

    With PATH, also how each model would run, and why.
    """
    findings = list(examine(settings, origins))
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _show(findings)
    return ExitCode.FAILED if any(finding.missing for finding in findings) else ExitCode.OK


def _show(findings: list[Fact]) -> None:
    width = max(len(finding.what) for finding in findings)
    area = ""
    for finding in findings:
        if finding.area != area:
            click.echo(("\n" if area else "") + click.style(finding.area, bold=True))
            area = finding.area
        mark = click.style("MISSING ", fg="red") if finding.missing else ""
        lines = [f"{mark}{finding.value}", *([f"{click.style('note: ', fg='yellow')}{finding.note}"] if finding.note else [])]
        for number, line in enumerate(lines):
            name = finding.what if number == 0 else ""
            click.echo(f"  {name:<{width}}  " + f"\n{'':<{width + 4}}".join(_wrapped(line, width + 4)))
    missing = sum(finding.missing for finding in findings)
    click.echo(f"\n{missing or 'nothing'} asked for {'is' if missing < 2 else 'are'} missing")


def _wrapped(text: str, indent: int) -> list[str]:
    """The lines of a text that stands behind so many columns of a terminal; one where stdout is none."""
    columns = shutil.get_terminal_size().columns - indent
    return textwrap.wrap(text, max(columns, 40), break_long_words=False, break_on_hyphens=False) if sys.stdout.isatty() else [text]


def examine(settings: Settings, origins: dict[str, str]) -> Iterator[Fact]:
    """All findings for these settings, in the order in which they are shown."""
    yield from _versions()
    yield from _transport(settings)
    yield from _providers(settings)
    yield from _steps()
    yield from _machine(settings)
    yield from _limits(settings)
    yield from _settings(settings, origins)
    yield from _models(settings)


def _versions() -> Iterator[Fact]:
    area = "versions"
    yield Fact(area, "inferd", __version__)
    yield Fact(area, "python", f"{platform.python_version()} {platform.python_implementation()}, {platform.platform()}")
    there = {name: _version(name) for name in PACKAGES}
    both = there["onnxruntime"] and there["onnxruntime-gpu"]
    for name in PACKAGES:
        if name == "onnxruntime-gpu" and not there[name]:
            continue
        if name == "onnxruntime" and not there[name] and find_spec("onnxruntime") is None:
            yield Fact(
                area, name, "not installed", missing=True, note="pip install 'inferd[cpu]', or 'inferd[gpu]' (one of them, not both)"
            )
        elif name == "onnxruntime-gpu" and both:
            yield Fact(area, name, there[name], missing=True, note="it and onnxruntime install the same files: uninstall both, then one")
        elif name == "inferd-client" and not there[name]:
            yield Fact(area, name, "not installed", note="`inferd infer HOST:PORT` needs it: pip install 'inferd[client]'")
        else:
            yield Fact(area, name, there[name] or "not installed")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _transport(settings: Settings) -> Iterator[Fact]:
    area = "transport"
    if find_spec("grpc") is None:
        cure = "the grpcio transport and `inferd health` need it: pip install 'inferd[grpcio]'"
        yield Fact(area, "grpcio", "not installed", missing=settings.transport == "grpcio", note=cure)
    else:
        yield Fact(area, "grpcio", "installed")
    yield Fact(area, "would serve with", settings.transport)
    yield Fact(area, "REST", "on" if settings.serves_http else "off")
    core = _import("inferd._core.http2.session")
    if isinstance(core, str):
        yield Fact(area, "native modules", "not built", missing=True, note=f"{core}; pip install inferd, or make build in its source")
    else:
        yield Fact(area, "HTTP/2", f"libnghttp2 {core.nghttp2_version_text()}")
        flavour = build_flavour(core.__file__)
        yield Fact(area, "build", flavour, note="" if flavour.startswith("release") else "for development: slower than a release build")
    there = find_spec("uvloop") is not None
    note = "uvloop is not installed; asyncio costs some microseconds a request more" if settings.uvloop and not there else ""
    yield Fact(area, "event loop", "uvloop" if settings.uvloop and there else "asyncio", note=note)


def _import(name: str) -> Any:
    """The module, or why it cannot be imported."""
    try:
        return import_module(name)
    except (ImportError, ValueError) as error:  # ValueError: native modules of different builds beside each other
        return str(error)


def build_flavour(path: str) -> str:
    """release, debug, or sanitize, from what the compiler wrote into a native module."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        words = []
        if content.find(b"__asan_init") >= 0 or content.find(b"__ubsan_handle") >= 0:
            words.append("sanitize")
        flags = re.search(rb"GNU C[0-9]+ [ -~]+", content)  # the producer line of gcc's debug information
        level = re.findall(rb" (-O\w?)", flags[0])[-1:] if flags else []
        if level == [b"-O0"]:
            words.insert(0, "debug")
    return "-".join(words) or "release" + (f" ({level[0].decode()})" if level else "")


def _providers(settings: Settings) -> Iterator[Fact]:
    area = "execution providers"
    loads = _import("inferd.engine.runtime.onnx.model")
    if isinstance(loads, str):
        yield Fact(area, "built in", "unknown", missing=True, note=f"{loads}; build inferd again")
        return
    from inferd.engine.runtime.onnx.library import available_providers
    from inferd.engine.runtime.onnx.options import Provider, SessionOptions

    try:
        yield Fact(area, "built in", ", ".join(available_providers()))
    except InferdError as error:
        yield Fact(area, "built in", "none", missing=True, note=str(error))
        return
    for name in settings.providers:
        try:
            options = SessionOptions(providers=(Provider(name),))
            model = loads.OnnxModel.load(TINY_MODEL, options, name="probe")
        except InferdError as error:
            yield Fact(area, name, "not usable", missing=True, note=str(error))
        else:
            yield Fact(area, name, f"usable: {model.providers[0]}")


def _steps() -> Iterator[Fact]:
    """Inputs that steps before a graph could read. A package is needed only when a model's configuration has such a step."""
    for what, package in READERS.items():
        there = _version(package)
        yield Fact("steps", what, f"{package} {there}" if there else f"no: pip install 'inferd[{EXTRAS[what]}]'")


def _machine(settings: Settings) -> Iterator[Fact]:
    area = "machine"
    from inferd.engine.loading import planner

    host = planner.Host.detect(workers=settings.workers)
    chosen = planner.plan(
        host,
        instances=settings.instances,
        intra_op_threads=settings.intra_op_threads,
        spinning=settings.spinning,
        gpu=settings.providers[0] != "cpu",
    )
    yield Fact(area, "cores", host.describe())
    yield Fact(area, "plan for one model", chosen.reason)
    memory = "no limit" if host.memory_bytes is None else f"{host.memory_bytes / (1 << 20):,.0f} MiB"
    yield Fact(area, "cgroup memory", memory)
    limit_bytes = memory_limit_bytes()
    nbytes = most_bytes(settings, limit_bytes)
    note = "" if nbytes < limit_bytes else "as much as there is, or more: models need memory, too; `inferd config` says what takes it"
    yield Fact(area, "most memory beside models", f"{spelled(nbytes)} of {spelled(limit_bytes)}", note=note)


def _limits(settings: Settings) -> Iterator[Fact]:
    area = "limits"
    settings = settled(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard  # the server raises the soft one
    note = ""
    if settings.max_connections + descriptors.RESERVED > most:
        note = f"too few for max_connections ({settings.max_connections}): raise it (ulimit -n), or lower max_connections"
    yield Fact(area, "open files", f"{_count(soft)} (hard limit {_count(hard)})", note=note)
    for name in (
        "max_message_bytes",
        "message_memory_bytes",
        "picture_memory_bytes",
        "max_concurrent_streams",
        "max_queue_requests",
        "max_unread_bytes",
    ):
        yield Fact(area, name, _spelled(settings, name))
    windows = settings.connection_window_bytes * settings.max_connections
    yield Fact(area, "flow control", f"{windows / (1 << 30):,.1f} GiB if all connections filled their windows")


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _settings(settings: Settings, origins: dict[str, str]) -> Iterator[Fact]:
    for name, origin in origins.items():
        if origin != "default":
            yield Fact("settings that are not defaults", name, f"{_spelled(settings, name)} ({origin})")


def _spelled(settings: Settings, name: str) -> str:
    return spell(fields()[name], getattr(settings, name))


def _models(settings: Settings) -> Iterator[Fact]:
    """Loads and warms the models as `inferd serve` does, and says how each would run."""
    if not settings.models:
        return
    area = "models"
    engine = _import("inferd.engine.models.repository")
    if isinstance(engine, str):
        yield Fact(area, ", ".join(map(without_secrets, settings.models)), "cannot be served", missing=True, note=engine)
        return
    # As if on a loop: warm-up decides where a model runs; nothing is ever submitted here.
    repository = engine.Repository(
        settled(settings), schedule=lambda callback: None, deliver=lambda batch: batch.deliver(), on_model_error=settings.on_model_error
    )
    try:
        repository.load(local_paths(settings))
        for model in repository.models():
            where = (
                "inline, on the event loop" if model.inline else f"{model.instances} executor thread{'s' if model.instances > 1 else ''}"
            )
            yield Fact(
                area,
                f"{model.name} version {model.version}",
                f"{where} ({model.inline_reason}); {model.plan_reason.partition('; host:')[0]}; {model.config.inferd.batching_reason}",
            )
        for entry in repository.entries():
            broken = {f" version {version}": why for version, why in entry.broken.items()} if entry.models else {"": entry.skipped}
            for which, why in broken.items():
                if why:
                    yield Fact(area, f"{entry.name}{which}", "cannot be served", missing=True, note=why)
        for model in repository.models():
            yield Fact("memory", f"{model.name} version {model.version}", _memory_of(model))
        yield Fact("memory", "all models", _memory_of_all(repository.models(), settings))
    except InferdError as error:
        yield Fact(area, ", ".join(map(without_secrets, settings.models)), "cannot be served", missing=True, note=str(error))
    finally:
        repository.close()


def _memory_of(model: Model) -> str:
    """Where the memory of one model goes."""
    parts = [f"file {_mib(model.origin.file_bytes)}", f"arrays of the largest batch {_mib(model.memory.buffer_bytes)}"]
    if not model.memory.buffer_bytes:
        parts[1] = "arrays of a batch as they are needed"
    limit_bytes = model.config.inferd.max_run_bytes
    if model.memory.has_arena:
        parts.append(
            f"runs of the warm-up {_mib(model.memory.peak_bytes)}, of which {_mib(model.memory.arena_bytes)} stays when no run uses it"
        )
        parts.append(f"all runs together at most {_mib(limit_bytes)} (max_run_bytes)")
        if (cost := model.run_cost) is not None:
            parts.append(
                f"a row of {cost.nbytes:,} bytes takes {_mib(cost.cost_bytes)}, one twice as large {2**cost.growth:.1f} times as much"
            )
    else:
        parts.append("runs without a limit: onnxruntime keeps the most that they ever needed")
    return "; ".join(parts)


def _memory_of_all(models: Sequence[Model], settings: Settings) -> str:
    """The memory that their runs may take together, and whether it fits into the memory left for models (`inferd config`)."""
    together = sum(model.config.inferd.max_run_bytes for model in models if model.memory.has_arena)
    limit_bytes = memory_limit_bytes()
    left = max(0, limit_bytes - most_bytes(settings, limit_bytes))
    fit = "which fits" if together <= left else "so lower max_run_bytes or max_axis where clients can make several models run long inputs"
    return f"their runs at most {_mib(together)} together; {_mib(left)} is left for models, {fit}"


def _mib(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):,.1f} MiB"
