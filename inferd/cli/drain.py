"""`inferd drain`: tells a server of this machine to drain and stop, and waits until it has ended."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
from contextlib import suppress
from pathlib import Path

import click

from inferd.cli.duration import timeout_option
from inferd.cli.exit_codes import ExitCode
from inferd.cli.number import Whole
from inferd.errors import ConfigError, InferdError

PIDFD_GET_INFO = 0xC040FF0B  # of linux/pidfd.h, with the first 64 bytes of its struct
PIDFD_INFO_EXIT = 1 << 3  # in what is asked for, and told: how it ended, of one whose parent knows already


@click.command()
@click.argument("pid", type=Whole(1), required=False)
@click.option("--pid-file", type=click.Path(path_type=Path), help="Where the server wrote its number (its --pid-file).")
@timeout_option("60s", "Longest wait for the end.")
def drain(pid: int | None, pid_file: Path | None, timeout: float) -> int:
    """Tell a server of this machine to stop, and wait until it has.

    PID is its process, or the number in --pid-file. The server says NOT_SERVING for its --lame-duck-s. Then it accepts nothing new, ends
    the requests that it has, and stops. For preStop hooks.
    """
    if (pid is None) == (pid_file is None):
        raise click.UsageError("expected PID or --pid-file, one of them")
    number = pid if pid is not None else read(pid_file)
    try:
        handle = os.pidfd_open(number)  # from now on the number is that process, whoever gets it next
    except ProcessLookupError:
        raise InferdError(f"there is no process {number}: the server ended before, or the number is wrong") from None
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    try:
        words = words_of(number)
        if ended.poll(0) or not any(words):  # it has no command line while the kernel takes its memory back
            raise InferdError(f"process {number} has ended")
        check_server(number, words)
        with suppress(ProcessLookupError):  # it has just ended
            signal.pidfd_send_signal(handle, signal_to(number))
        if not ended.poll(timeout * 1000):
            raise InferdError(f"process {number} has not ended within {timeout:g} s; give --timeout, or see its log")
        check_end(number, status(number, handle))
    except PermissionError:
        raise InferdError(f"process {number} belongs to another user") from None
    finally:
        os.close(handle)
    return ExitCode.OK


def read(path: Path | None) -> int:
    assert path is not None
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise InferdError(f"--pid-file {path}: there is none; the server has ended, or was started with another --pid-file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--pid-file {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise ConfigError(f"--pid-file {path}: expected the number of a process, got {text[:40]!r}")
    return int(text)


def words_of(pid: int) -> list[bytes]:
    """The process's command line; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def check_server(pid: int, words: list[bytes]) -> None:
    """A stale file must not end somebody else's process."""
    if b"serve" not in words or not any(word.endswith(b"inferd") for word in words):
        raise ConfigError(f"process {pid} is no `inferd serve`: it was started as {b' '.join(words)[:80].decode('utf-8', 'replace')!r}")


def signal_to(pid: int) -> signal.Signals:
    """SIGUSR1 where the process takes it: unlike a second SIGTERM, it does not cut a drain short (serving/processes/process.py).

    Else SIGTERM: the process is the server in its first moments, or a program that has started it and passes SIGTERM on."""
    bit = 1 << (signal.SIGUSR1 - 1)
    with suppress(OSError):
        masks = re.findall(r"^Sig(?:Blk|Ign|Cgt):\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        if any(int(mask, 16) & bit for mask in masks):
            return signal.SIGUSR1
    return signal.SIGTERM


def status(pid: int, handle: int) -> int | None:
    """How a process has ended, as wait(2) tells it. None: nobody can tell, for it is gone, and the kernel is older than 6.15."""
    told = bytearray(struct.pack("Q56x", PIDFD_INFO_EXIT))
    with suppress(OSError):
        fcntl.ioctl(handle, PIDFD_GET_INFO, told)
        if struct.unpack_from("Q", told)[0] & PIDFD_INFO_EXIT:
            return int(struct.unpack_from("i", told, 60)[0])
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[49]) if fields[0] == b"Z" else None
    return None


def check_end(pid: int, ended: int | None) -> None:
    """Raises InferdError for an exit status other than 0: a server ends with 0 if all requests were served in time."""
    if ended:
        code = os.waitstatus_to_exitcode(ended)
        how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with code {code}"
        raise InferdError(f"process {pid} ended {how}: not all requests got a response, or it had failed; see its log")
