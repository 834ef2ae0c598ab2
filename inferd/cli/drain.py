"""`inferd drain`: tells a server of this machine to stop, and waits until it has answered everything and ended."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import click

from inferd.cli.duration import timeout_option
from inferd.cli.number import Whole
from inferd.errors import ConfigError, InferdError

__all__ = ["drain"]


@click.command()
@click.argument("pid", type=Whole(1), required=False)
@click.option("--pid-file", type=click.Path(path_type=Path), help="Where the server wrote its number (its --pid-file).")
@timeout_option("60s", "To wait for the end.")
def drain(pid: int | None, pid_file: Path | None, timeout: float) -> int:
    """Tell a server of this machine to stop, and wait until it has.

    PID is its process, or the one in --pid-file. The server says NOT_SERVING for its --lame-duck-s, then takes nothing new, answers what
    it has, and ends. Made for preStop hooks: exit code 0 once it has ended, 1 if it has not in time.
    """
    if (pid is None) == (pid_file is None):
        raise click.UsageError("expected PID or --pid-file, one of them")
    number = pid if pid is not None else read(pid_file)
    try:
        handle = os.pidfd_open(number)  # from now on the number is that process, whoever gets it next
    except ProcessLookupError:
        raise InferdError(f"there is no process {number}; the server has ended") from None
    try:
        check_server(number)
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        if not ended.poll(timeout * 1000):
            raise InferdError(f"process {number} has not ended within {timeout:g} s; give --timeout, or see its log")
    except PermissionError:
        raise InferdError(f"process {number} belongs to another user") from None
    finally:
        os.close(handle)
    return 0


def read(path: Path | None) -> int:
    assert path is not None
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--pid-file {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise ConfigError(f"--pid-file {path}: expected the number of a process, got {text[:40]!r}")
    return int(text)


def check_server(pid: int) -> None:
    """A stale file must not end somebody else's process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    if b"serve" not in words or not any(word.endswith(b"inferd") for word in words):
        raise ConfigError(f"process {pid} is no `inferd serve`: it was started as {b' '.join(words)[:80].decode('utf-8', 'replace')!r}")
