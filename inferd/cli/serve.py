"""`inferd serve`: settings, log, then the server until it is told to stop. Serving itself is inferd.serving's."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
import msgspec

from inferd import log
from inferd.cli import silence, start_screen
from inferd.cli.named_files import SECRET_FILES
from inferd.cli.options import REREAD, SettingsCommand, takes_settings
from inferd.config import fields, spell
from inferd.config.share import spelled
from inferd.errors import ConfigError, StartError
from inferd.serving.memory.budget import most_bytes
from inferd.system.memory_limit import memory_limit_bytes
from inferd.watched_files import require_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd.config import Settings
    from inferd.serving.summary import ModelSummary


@click.command(cls=SettingsCommand, common=True)
@takes_settings
def serve(settings: Settings, origins: dict[str, str]) -> int:
    """Serve ONNX files, or a model repository, over gRPC and REST.

    \b
    inferd serve model.onnx
    inferd serve models --host 0.0.0.0 --workers auto
    """
    if not settings.models:
        raise ConfigError("models: expected a PATH to an ONNX file or a model repository, got none; try `inferd serve model.onnx`")
    require_onnxruntime()
    for name in SECRET_FILES:
        if (path := getattr(settings, name)) is not None:
            require_secret(path, f"{name} ({origins[name]})")
    context = click.get_current_context()
    reread: Callable[[], Settings] = context.meta[REREAD]
    on_screen, coloured = os.isatty(1), context.color is not False
    if on_screen:
        click.echo(start_screen.loading(settings), color=coloured)
        if os.isatty(2):  # of the log, what is worth knowing at a start stands on the screen
            settings, reread = _quiet(settings), lambda: _quiet(context.meta[REREAD]())
    log.set_up(settings.log_level, settings.log_format)
    if on_screen:
        logging.getLogger("inferd.serving.processes.process").setLevel("INFO")  # which tells that the server stops, and that takes a while
    given = {name: spell(fields()[name], getattr(settings, name)) for name, origin in origins.items() if origin != "default"}
    changed = ", ".join(f"{name}={value} ({origins[name]})" for name, value in given.items())
    logging.getLogger("inferd.cli.serve").info("settings: %s", changed, extra=log.event("settings", settings=given))
    _warn_of_memory(settings)

    from inferd.serving.processes.process import serve as run

    def ready(addresses: dict[str, object], models: Sequence[ModelSummary]) -> None:
        text = start_screen.started(addresses, models, settings) if on_screen else ""
        announce(addresses, text if coloured else click.unstyle(text))

    return run(settings, ready, reread)


def _quiet(settings: Settings) -> Settings:
    """Without the log's lines of everyday, unless somebody asked for a level or for JSON."""
    everyday = settings.log_level == fields()["log_level"].default and settings.log_format == "text"
    return msgspec.structs.replace(settings, log_level="warning") if everyday else settings


def _warn_of_memory(settings: Settings) -> None:
    limit_bytes = memory_limit_bytes()
    if (nbytes := most_bytes(settings, limit_bytes)) >= limit_bytes:
        logging.getLogger("inferd.cli.serve").warning(
            "memory: clients can make this server hold %s, and it may use %s, models included: raise the memory limit, or lower the "
            "settings that `inferd config` names",
            spelled(nbytes),
            spelled(limit_bytes),
        )


def announce(addresses: dict[str, object], text: str = "") -> threading.Thread:
    """Writes the text, else the `ready` line, on the thread that it returns. A reader of stdout that has stopped, or gone, does not stop
    the server."""
    thread = threading.Thread(target=_write_ready, args=(json.dumps(addresses), text), name="inferd-ready", daemon=True)
    thread.start()
    return thread


def _write_ready(addresses: str, text: str) -> None:
    if text:
        for handler in logging.getLogger().handlers:  # what was said before comes before
            handler.flush()
    line = f"{text or f'ready {addresses}'}\n".encode()
    try:
        while line:  # not by sys.stdout, whose lock the interpreter takes at its end
            line = line[os.write(1, line) :]
    except OSError:  # a broken pipe, a full disk, a closed stdout
        silence(sys.stdout)
        logging.getLogger("inferd.cli.serve").warning("stdout took no ready line; the addresses are: %s", addresses)


def require_onnxruntime() -> None:
    """StartError that says what to install when there is no ONNX Runtime; finding it does not import it."""
    if find_spec("onnxruntime") is None:
        raise StartError("ONNX Runtime is not installed: pip install 'inferd[cpu]', or 'inferd[gpu]' for NVIDIA GPUs (one, not both)")
