"""Lists a bucket in a child process (lister.py) with limits of memory and time. The client library has no such limits: it reads whole
responses of any length, and asks for further pages while the store promises them. Never in here: downloads.
"""

from __future__ import annotations

import os
import select
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.engine.remote.source import SourceError
from inferd.interpreter import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inferd.engine.remote.until import Until

MAX_OBJECTS = 100_000  # of one URL
MAX_NAME_BYTES = 32 << 20  # of all their names
MEMORY_BYTES = 512 << 20  # memory of the child, into which one response must fit
READ_BYTES = 1 << 20
MAX_END_S = 5.0  # after the parent's timeout, a child whose parent hangs ends by itself

Listed = tuple[str, int, str | None, str]  # an object: its key, its size, its ETag, when it was last changed


class Asked(msgspec.Struct):
    url: str
    left_s: float


class Told(msgspec.Struct):
    """A child's report: the objects, or why there are none."""

    found: list[Listed] = []
    error: str = ""
    again: bool = False


def listed(url: str, until: Until) -> list[Listed]:
    """All objects below a URL. Raises SourceError."""
    until.check()
    environment = {**os.environ, "TOKIO_WORKER_THREADS": "2"}  # the stacks of its threads count as memory, too
    command = [*interpreter(), "-m", "inferd.engine.remote.lister"]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0, env=environment, process_group=0)
    try:
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(Asked(url, max(until.left_s, 0.001))) + b"\n")
        body = _body(child, until)
        status = child.wait(MAX_END_S)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        body, status = b"", 1
    finally:
        child.kill()
        child.wait()
        for file in (child.stdin, child.stdout):
            if file is not None:
                file.close()
    until.check()
    if status:
        raise SourceError(f"the store's list cannot be read in {MEMORY_BYTES >> 20} MiB of memory: name a folder with fewer objects")
    told = msgspec.json.decode(body, type=Told)
    if told.error:
        raise SourceError(told.error, again=told.again)
    return told.found


def _body(child: subprocess.Popen[bytes], until: Until) -> bytes:
    """All that the child writes."""
    assert child.stdout is not None
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN)
    body = bytearray()
    while True:
        if not poll.poll(1000 * max(until.left_s, 0)):
            until.check()
            continue
        piece = os.read(child.stdout.fileno(), READ_BYTES)
        if not piece:
            return bytes(body)
        body += piece


def gathered(chunks: Iterable[Iterable[Any]]) -> list[Listed]:
    """The objects that obstore lists, up to the limits. Raises SourceError."""
    found: list[Listed] = []
    names_nbytes = 0
    for chunk in chunks:
        for meta in chunk:
            found.append((meta["path"], meta["size"], meta["e_tag"], meta["last_modified"].isoformat()))
            names_nbytes += len(meta["path"])
        if len(found) > MAX_OBJECTS:
            raise SourceError(f"there are more than {MAX_OBJECTS} objects: name a folder with fewer")
        if names_nbytes > MAX_NAME_BYTES:
            raise SourceError(f"the names of its objects have more than {MAX_NAME_BYTES >> 20} MiB: name a folder with fewer objects")
    return found
