"""Tells others when the findings of a version change: a POST to a URL, and a command with the same JSON on its stdin.

A notice is sent on a thread of its own, so a receiver that hangs holds up nothing but later notices. A version has one notice in a
cool-down; a change that comes meanwhile is told at its end, as it is then. Never in here: when something has changed.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from inferd.engine.remote.source import SourceError
from inferd.engine.remote.until import Until
from inferd.engine.remote.web import Connections
from inferd.errors import ConfigError
from inferd.log import LIMITED

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPMessage
    from pathlib import Path

log = logging.getLogger("inferd.monitor")

SIGNATURE = "X-Inferd-Signature"  # sha256=HEX of the body, by HMAC with the key
PAUSES_S = (1.0, 5.0, 25.0)  # before each further try
TIMEOUT_S = 10.0  # of a POST
COMMAND_S = 60.0  # then the command and all that it has started are killed
MOST_WAITING = 1000  # versions whose notices wait

Key = tuple[str, int]  # model and version


class Ways(NamedTuple):
    """How notices are sent. key: b'': they are not signed."""

    url: str = ""
    key: bytes = b""
    command: tuple[str, ...] = ()
    cool_down_s: float = 3600.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A body goes to the URL of the settings, and nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str) -> None:
        return None


class Notices:
    """clock: seconds, for the cool-down. Counts: sent, failed."""

    def __init__(self, ways: Ways, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter(sent=0, failed=0)
        self._ways, self._clock = ways, clock
        self._waiting: dict[Key, dict[str, Any]] = {}  # the newest of each
        self._free_s: dict[Key, float] = {}  # the end of its cool-down
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def tell(self, model: str, version: int, told: dict[str, Any]) -> None:
        """told: what the JSON says beside model and version."""
        with self._lock:
            if (model, version) in self._waiting or len(self._waiting) < MOST_WAITING:
                self._waiting[model, version] = {"model": model, "version": version} | told
            else:
                self.counts["failed"] += 1
        self._wake.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends nothing more; a try that is on its way may end."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.send_due()
            self._wake.wait(1.0 if self._waiting else None)
            self._wake.clear()

    def send_due(self) -> None:
        """Sends all that waits, except of versions in a cool-down."""
        while not self._stopping.is_set() and (due := self._take_due()) is not None:
            body = msgspec.json.encode(due)
            fine = [self._tried(way, body) for way in (self._post, self._run_command) if self._has(way)]
            self.counts["sent" if all(fine) else "failed"] += 1

    def _take_due(self) -> dict[str, Any] | None:
        with self._lock:
            now_s = self._clock()
            self._free_s = {key: until_s for key, until_s in self._free_s.items() if until_s > now_s}
            for key in self._waiting:
                if key not in self._free_s:
                    self._free_s[key] = now_s + self._ways.cool_down_s
                    return self._waiting.pop(key)
        return None

    def _has(self, way: object) -> bool:
        return bool(self._ways.url if way == self._post else self._ways.command)

    def _tried(self, way: Callable[[bytes], None], body: bytes) -> bool:
        """False: no try went well."""
        for pause_s in (*PAUSES_S, None):
            try:
                way(body)
            except (OSError, ValueError, HTTPException, subprocess.SubprocessError) as error:
                log.error("drift: a notice could not be sent: %s", _words(error), extra=LIMITED)
            else:
                return True
            if pause_s is None or self._stopping.wait(pause_s):
                return False
        return False

    def _post(self, body: bytes) -> None:
        """Raises OSError, ValueError."""
        headers = {"Content-Type": "application/json", "User-Agent": "inferd"}
        if self._ways.key:
            headers[SIGNATURE] = f"sha256={hmac.new(self._ways.key, body, hashlib.sha256).hexdigest()}"
        request = urllib.request.Request(self._ways.url, body, headers, method="POST")
        opener = urllib.request.build_opener(_NoRedirects, Connections(Until(TIMEOUT_S)))  # the limit is that of all of it
        try:
            opener.open(request, timeout=TIMEOUT_S).close()  # the body of the response says nothing
        except SourceError:
            raise TimeoutError(f"no response within {TIMEOUT_S:g} s") from None

    def _run_command(self, body: bytes) -> None:
        """Raises OSError, SubprocessError."""
        with subprocess.Popen(
            self._ways.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            try:
                process.communicate(body, timeout=COMMAND_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self._ways.command[0])


def _words(error: Exception) -> str:
    """Without a URL, which may have a secret."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server responded with {error.code}"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason)


def key_in(path: Path | None) -> bytes:
    """The content of a file, without white space at its ends. Raises ConfigError."""
    if path is None:
        return b""
    try:
        found = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"drift_webhook_key {path}: cannot be read: {error.strerror or error}") from None
    if not found:
        raise ConfigError(f"drift_webhook_key {path}: expected a key, got an empty file")
    return found
