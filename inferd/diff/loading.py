"""`python -m inferd.diff.loading PATH`: loads a model once in a process of its own, and prints how long that took and what it holds.

A model's memory cannot be told from another's within one process, nor does a second load there cost as much as the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from inferd.bench.server_side import rss_bytes
from inferd.diff.sources import parse_source, place_of
from inferd.errors import InferdError

TIMEOUT_S = 600


def loaded(path: str) -> tuple[float, float]:
    """Milliseconds, and MiB, in a new process. Raises InferdError."""
    command = [sys.executable, "-m", "inferd.diff.loading", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        figures = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise InferdError(f"{path}: loading it in a process of its own failed") from None
    return float(figures["load_ms"]), float(figures["memory_mib"])


def main() -> None:
    from inferd.engine.embedded import Engine
    from inferd.engine.runtime import runtimes  # noqa: F401 - ONNX Runtime itself counts for neither

    place = place_of(parse_source(sys.argv[1]))
    before_bytes, before_ns = rss_bytes([os.getpid()]) or 0, time.perf_counter_ns()
    with Engine(place):
        load_ms = (time.perf_counter_ns() - before_ns) / 1e6
        held_bytes = (rss_bytes([os.getpid()]) or 0) - before_bytes
    print(json.dumps({"load_ms": load_ms, "memory_mib": held_bytes / 2**20}))


if __name__ == "__main__":
    main()
