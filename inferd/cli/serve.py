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

from inferd import log
from inferd.cli import silence
from inferd.cli.options import REREAD, SettingsCommand, takes_settings
from inferd.config import fields, spell
from inferd.errors import ConfigError, StartError
from inferd.memory_limit import memory_limit_bytes
from inferd.serving.budget import most_bytes, spelled
from inferd.watched_files import require_secret

if TYPE_CHECKING:
    from inferd.config import Settings

__all__ = ["announce", "require_onnxruntime", "serve"]

SECRET_FILES = ("tls_key", "token_file")  # settings whose files hold what nobody else may know


@click.command(cls=SettingsCommand, common=True)
@takes_settings
def serve(settings: Settings, origins: dict[str, str]) -> int:
    """Serve ONNX files, or a model repository, over gRPC.

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
    log.set_up(settings.log_level, settings.log_format)
    given = [name for name, origin in origins.items() if origin != "default"]
    changed = ", ".join(f"{name}={spell(fields()[name], getattr(settings, name))} ({origins[name]})" for name in given)
    logging.getLogger("inferd.cli.serve").info("settings: %s", changed)
    _warn_of_memory(settings)

    from inferd.serving.process import serve as run

    return run(settings, announce, click.get_current_context().meta[REREAD])


def _warn_of_memory(settings: Settings) -> None:
    limit_bytes = memory_limit_bytes()
    if (nbytes := most_bytes(settings, limit_bytes)) >= limit_bytes:
        logging.getLogger("inferd.cli.serve").warning(
            "memory: clients can make this server hold %s, and it may use %s, models included: raise the memory limit, or lower the "
            "settings that `inferd config` names",
            spelled(nbytes),
            spelled(limit_bytes),
        )


def announce(addresses: dict[str, object]) -> threading.Thread:
    """Writes the `ready` line, on the thread that it returns. A reader of stdout that has stopped, or gone, does not stop the server."""
    thread = threading.Thread(target=_write_ready, args=(json.dumps(addresses),), name="inferd-ready", daemon=True)
    thread.start()
    return thread


def _write_ready(addresses: str) -> None:
    line = f"ready {addresses}\n".encode()
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
