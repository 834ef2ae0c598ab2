"""The text of `inferd serve` on a terminal: a line a model, the addresses, a command to paste. Never in here: writing it."""

from __future__ import annotations

import os
import shlex
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from inferd import __version__
from inferd.cli.say import near_path, printable
from inferd.config import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.config import Settings
    from inferd.serving.summary import ModelSummary

MAX_MODELS = 20  # that have a line
MAX_VERSIONS = 3  # that are not served and named
SAMPLES = {"--image": "FILE.jpg", "--audio": "FILE.wav", "--text": "'some words'", "--csv": "FILE.csv"}
ANY_HOST = ("0.0.0.0", "[::]", "127.0.0.1", "[::1]")


def loading(settings: Settings) -> str:
    """The first line, before anything is loaded."""
    what = printable(", ".join(map(without_secrets, settings.models)))
    return f"{click.style(f'inferd {__version__}', bold=True)}  {click.style(f'loading {what} ...', dim=True)}"


def started(addresses: Mapping[str, object], models: Sequence[ModelSummary], settings: Settings) -> str:
    """All lines of a server that is ready."""
    own = str(addresses["grpc"])
    notes = [f"all addresses, {settings.host}"] if settings.host in ("0.0.0.0", "::") else []
    notes += ["TLS"] if settings.tls_cert else []
    lines = ["", *_models(models), ""]
    lines.append(_row("gRPC", _reachable(own) + (click.style(f"  ({', '.join(notes)})", dim=True) if notes else "")))
    if "http" in addresses:
        lines.append(_row("REST", f"{'https' if settings.tls_cert else 'http'}://{_reachable(str(addresses['http']))}"))
    lines += [_row("", str(address)) for address in _listed(addresses.get("listen"))]
    if "metrics" in addresses:
        lines.append(_row("metrics", f"http://{_reachable(str(addresses['metrics']))}/metrics"))
    if command := sample(own, models, settings):
        lines.append(_row("try", click.style(printable(command), fg="cyan")))
    return "\n".join([*lines, "", click.style("  Ready. Ctrl-C stops the server.", fg="green"), ""])


def _listed(addresses: object) -> Sequence[object]:
    return addresses if isinstance(addresses, list) else ()


def _row(name: str, text: str) -> str:
    return f"  {click.style(f'{name:<7}', bold=True)}  {text}"


def _models(models: Sequence[ModelSummary]) -> list[str]:
    """A line each, in columns; names that are there twice have their versions."""
    names = [model.name for model in models]
    rows = []
    for model in models[:MAX_MODELS]:
        name = f"{model.name}/{model.version}" if names.count(model.name) > 1 else model.name
        inputs = ", ".join(_input(*spec, batched=model.batched) for spec in model.inputs)
        rows.append((printable(name), printable(inputs), _batches(model), model.place))
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(3)]
    lines = []
    for model, (name, inputs, batches, place) in zip(models, rows, strict=False):
        shown = click.style(f"{name:<{widths[0]}}", bold=True)
        if model.error:
            lines.append(f"  {shown}  {click.style('skipped: it cannot be loaded; the error is above', fg='red')}")
        elif model.on_demand:
            lines.append(f"  {shown}  {click.style('on demand: its first request loads it', dim=True)}")
        else:
            lines.append(f"  {shown}  {inputs:<{widths[1]}}  {batches:<{widths[2]}}  {place}{_version(model)}")
    if len(models) > MAX_MODELS:
        lines.append(f"  ... and {len(models) - MAX_MODELS} more")
    return lines


def _version(model: ModelSummary) -> str:
    """Which version it is, where others are there."""
    if not model.unserved:
        return ""
    others = ", ".join(map(str, model.unserved[-MAX_VERSIONS:]))
    return click.style(f"  version {model.version}, not {others} (version_policy)", dim=True)


def _input(name: str, datatype: str, shape: tuple[int, ...], *, batched: bool) -> str:
    sizes = ["N" if batched and at == 0 else "?" if size < 0 else str(size) for at, size in enumerate(shape)]
    return f"{name} {datatype}[{','.join(sizes)}]"


def _batches(model: ModelSummary) -> str:
    return f"batches of up to {model.max_rows}" if model.max_rows else "no batching"


def _reachable(address: str) -> str:
    """The address as a client of this machine may write it."""
    host, _, port = address.rpartition(":")
    return f"localhost:{port}" if host in ANY_HOST else address


def sample(address: str, models: Sequence[ModelSummary], settings: Settings) -> str:
    """A command that asks the first model, one that takes tensors or texts where there is one; nothing without models."""
    served = [model for model in models if not model.error]
    ready = [model for model in served if set(model.flags) <= {"--text"}]
    for model in ready or served:
        what = " ".join(f"{flag} {SAMPLES[flag]}" for flag in model.flags) or "--random"
        return " ".join([command_name(), "infer", _reachable(address), shlex.quote(model.name), what, *_access(settings)])
    return ""


def _access(settings: Settings) -> list[str]:
    """The flags that a client needs for TLS and tokens, as far as the server's files tell."""
    words = []
    if settings.tls_cert:
        words += _tls(settings.tls_cert)
        if settings.tls_client_ca:
            words += ["--tls-cert", "CLIENT.pem", "--tls-key", "CLIENT.key"]
    if settings.token_file:
        words += ["--token-file", shlex.quote(settings.token_file)]
    return words


def _tls(certificate: str) -> list[str]:
    """A certificate that has signed itself is its own authority; any other is a public one's, as far as the server knows."""
    with suppress(OSError, ssl.SSLError):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificate)
        for found in context.get_ca_certs()[:1]:
            alternatives = cast("Sequence[tuple[str, str]]", found.get("subjectAltName", ()))
            names = [value for kind, value in alternatives if kind == "DNS"]
            other = [] if "localhost" in names or not names else ["--tls-server-name", shlex.quote(names[0])]
            return ["--tls-ca", shlex.quote(certificate), *other]
    return ["--tls"]


def command_name() -> str:
    """How to call the command from the user's shell: by its path where its virtual environment is not active there."""
    script = Path(sys.prefix) / "bin" / "inferd"
    outside = sys.prefix != sys.base_prefix and os.environ.get("VIRTUAL_ENV") != sys.prefix
    if not outside or not script.exists():
        return "inferd"
    return str(near_path(script))
