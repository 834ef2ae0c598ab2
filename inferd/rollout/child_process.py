"""The process that a candidate runs in (candidate.py), as the server starts and bounds it.

It gets none of the server's secrets and no privilege that the server lacks. It is killed when it holds more memory than MEMORY_SHARE of
the server's limit. Never in here: messages to it.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.interpreter import interpreter
from inferd.system.memory_limit import memory_limit_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY_SHARE = 0.5  # of the memory that the server may use; a limit of addresses would end what CUDA and mapped files only reserve
WATCH_S = 0.1  # between two looks at what it holds
PR_SET_NO_NEW_PRIVS = 38

# Variables that an interpreter, ONNX Runtime and its devices go by. Settings come in the first message, so that no INFERD_* is needed.
_KEPT = re.compile(
    "PATH|HOME|USER|TMPDIR|LANG|LANGUAGE|LC_[A-Z]+|TZ|TZDIR|LD_LIBRARY_PATH|LD_PRELOAD|VIRTUAL_ENV|XDG_CACHE_HOME|GLIBC_TUNABLES"
    "|(A|L|T|UB)SAN_OPTIONS|(PYTHON|MALLOC_|OMP_|GOMP_|KMP_|MKL_|OPENBLAS_|ORT_|CUDA_|CUDNN_|CUBLAS_|NVIDIA_|TRT_|TENSORRT_).*"
)
_SECRET = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|_KEY")  # NVIDIA_API_KEY, above all


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that the process needs, without one that looks like a secret."""
    return {name: value for name, value in variables.items() if _KEPT.fullmatch(name) and not _SECRET.search(name)}


def start(descriptor: int) -> subprocess.Popen[bytes]:
    """The process, with this end of a socket."""
    none = subprocess.DEVNULL
    # A process group of its own: Ctrl-C at a terminal is for the server. But no session of its own: Linux first divides the
    # cores among sessions (autogroup), and idle priority only counts within one.
    return subprocess.Popen(
        [*interpreter(), "-m", "inferd.rollout.candidate", str(descriptor)],
        stdin=none,
        stdout=none,
        stderr=none,
        pass_fds=[descriptor],
        process_group=0,
        env=environment_of(os.environ),
    )


def refuse_privileges() -> None:
    """Called in the process: no program that it may run gets more rights than it has."""
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class MemoryWatch:
    """A thread that ends the process when it holds too much, from start() to stop(). why: it did, and how to mend it; ''."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.why = ""
        self._child, self._limit_bytes = child, int(MEMORY_SHARE * memory_limit_bytes())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(WATCH_S):
            if (held := _held_bytes(self._child.pid)) > self._limit_bytes:
                self.why = (
                    f"its process held {held >> 20} MiB, and was ended: expected at most {self._limit_bytes >> 20} MiB, "
                    f"{MEMORY_SHARE:.0%} of the memory that the server may use; use a smaller model, or give the server more memory"
                )
                with suppress(OSError):
                    self._child.kill()
                return


def _held_bytes(pid: int) -> int:
    """Memory that only the process's end gives back: pages of mapped files are the system's to take. 0: it is not known."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0
