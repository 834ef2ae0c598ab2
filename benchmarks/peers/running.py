"""A peer's processes: started, counted, ended. All of them: servers of several processes are measured as a whole.

A process belongs to a peer when it descends from the one that was started, or carries the mark that this one was given in its
environment (a daemon that left its parents). Never in here: requests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import load
import servers

from .catalogue import HERE, Peer
from .models import Model

MARK = "PEER_MARK"
NOBODY = -1  # no process id
PATIENCE_S = 15.0  # from SIGTERM to SIGKILL


class Running(NamedTuple):
    """A peer that was started. It may not answer yet."""

    peer: Peer
    pid: int
    mark: str
    port: int
    begun: float  # time.monotonic() of its start
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def environment(peer: Peer, python: Path, model: Model, folder: Path, port: int, mark: str) -> dict[str, str]:
    """What its server file finds out from."""
    others = ",".join(str(servers.free_port()) for _ in range(4))
    own = {"PEER_MODELS": model.repository, "PEER_MODEL": model.name, "PEER_THREADS": model.threads, "PEER_FOLDER": folder}
    own |= {
        "PEER_PROTOCOL": peer.protocol,
        "PEER_PORT": port,
        "PEER_OTHER_PORTS": others,
        "PEER_CORES": servers.cores(),
        MARK: mark,
        "PYTHONUNBUFFERED": 1,
    }
    words = {name: str(value) for name, value in own.items()}
    if peer.requirements is not None:
        words["PYTHONPATH"] = os.pathsep.join([str(HERE / "session"), str(peer.folder)])
        words["PATH"] = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    return {**os.environ, **words, **peer.env}


@contextmanager
def start(peer: Peer, python: Path, model: Model, folder: Path) -> Iterator[Running]:
    """The peer's server until the block ends; what it prints goes to folder/log."""
    folder.mkdir(parents=True, exist_ok=True)
    port, mark = servers.free_port(), uuid.uuid4().hex
    values = {"python": python, "models": model.repository, "model": model.name, "folder": folder, "port": port, "threads": model.threads}
    log = folder / "log"
    with log.open("w") as output:
        begun = time.monotonic()
        own = environment(peer, python, model, folder, port, mark)
        process = subprocess.Popen(peer.words(**values), stdout=output, stderr=output, env=own, cwd=folder, start_new_session=True)
    try:
        yield Running(peer, process.pid, mark, port, begun, log)
    finally:
        end(process, mark)


def end(process: subprocess.Popen[bytes], mark: str) -> None:
    """SIGTERM to the first process, and after a while SIGKILL to whatever is left of the peer."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    until = time.monotonic() + PATIENCE_S
    # By the mark alone: the first process is gone, and its id may be another's by now.
    while (left := tree(NOBODY, mark)) and time.monotonic() < until:
        signal_all(left, signal.SIGKILL)
        time.sleep(0.01)


def tree(root: int, mark: str) -> list[int]:
    """All processes of a peer."""
    parents: dict[int, int] = {}
    members: set[int] = set()
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            marked = wanted in (entry / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or it is another user's
            continue
        if fields[0] == "Z":
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        if marked or pid == root:
            members.add(pid)
    while grown := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= grown
    return sorted(members & parents.keys())


def cpu_ns(running: Running) -> dict[int, int]:
    """CPU time so far of each of its processes."""
    found = {}
    for pid in tree(running.pid, running.mark):
        try:
            found[pid] = load.cpu_ns(pid)
        except OSError:
            continue
    return found


def spent_ns(before: dict[int, int], after: dict[int, int]) -> int:
    """Between two readings. A process that began in between counts whole; what one that ended spent is lost."""
    return sum(now - before.get(pid, 0) for pid, now in after.items())


def memory_bytes(running: Running) -> int:
    """Resident memory of all its processes, a page that several share counted once among the peer's own (PSS)."""
    total = 0
    for pid in tree(running.pid, running.mark):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def last_words(log: Path, lines: int = 3) -> str:
    """The end of what it printed, for people."""
    return " / ".join(line.strip() for line in log.read_text(errors="replace").splitlines()[-lines:])


def stop(running: Running) -> list[int]:
    """Stops all its processes where they are; the process ids, for `go_on`."""
    pids = tree(running.pid, running.mark)
    signal_all(pids, signal.SIGSTOP)
    return pids


def go_on(pids: list[int]) -> None:
    signal_all(pids, signal.SIGCONT)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
