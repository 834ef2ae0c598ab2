"""The process that listing.py starts: it reads a URL, lists its bucket, and writes the list. It ends with its parent."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading

import msgspec

from inferd.config import without_secrets
from inferd.engine.remote.listing import MAX_END_S, MEMORY_BYTES, Asked, Told
from inferd.engine.remote.location import Location
from inferd.engine.remote.objects import ObjectSource
from inferd.engine.remote.source import SourceError
from inferd.engine.remote.until import Until


def _limit(left_s: float) -> None:
    """Limits the time and memory of this process, and ends it with its parent."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, left_s + MAX_END_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))

    def end() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def main() -> None:
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Asked)
    _limit(asked.left_s)
    try:
        told = Told(list(ObjectSource(Location.of(asked.url), Until(asked.left_s)).listed_here()))
    except SourceError as error:
        told = Told(error=str(error), again=error.again)
    except (ValueError, RecursionError) as error:
        told = Told(error=f"the store's response cannot be understood: {without_secrets(str(error))}")
    sys.stdout.buffer.write(msgspec.json.encode(told))
    sys.stdout.buffer.flush()
    os._exit(0)  # threads of the client may still run


if __name__ == "__main__":
    main()
