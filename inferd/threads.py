"""Starting threads, and what to say where the system gives no more of them. Never in here: what threads do."""

from __future__ import annotations

import resource
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.errors import StartError
from inferd.system.cgroup import pids

if TYPE_CHECKING:
    from collections.abc import Iterator

_PYTHON_SAYS = "can't start new thread"


class NoThread(StartError):
    """The system starts no further thread. Its text names the limit."""


def start_thread(thread: threading.Thread) -> None:
    """Raises NoThread."""
    with limit_told():
        thread.start()


@contextmanager
def limit_told() -> Iterator[None]:
    """Whatever starts a thread inside raises NoThread where the system gives none."""
    try:
        yield
    except RuntimeError as error:
        if _PYTHON_SAYS not in str(error):
            raise
        raise NoThread(why_no_thread()) from None


def why_no_thread(root: Path = Path("/")) -> str:
    """Which limits there are on threads, and how to mend it."""
    group = pids(root)
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limits = []
    if group is not None:
        limits.append(f"the cgroup's pids.max is {group[1]}, of which {group[0]} are used: raise it (Docker: --pids-limit)")
    if soft != resource.RLIM_INFINITY:
        limits.append(f"the user may have {soft} processes and threads (ulimit -u): raise it")
    told = "; ".join(limits) or "no limit on threads was found: memory may be short"
    return f"the system starts no further thread, and this process has {_count(root)}: {told}; or serve fewer models"


def _count(root: Path) -> int:
    try:
        return sum(1 for _ in (root / "proc/self/task").iterdir())
    except OSError:
        return threading.active_count()
