"""An inferd server that measures its own event loop: how much processor time one iteration takes at most. usage: loop_ticks.py REPOSITORY

Prints one line of JSON with the address of REST, and at SIGTERM one with `held_ms`. Processor time, because the loop may wait for a core.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

import uvloop

import inferd

WARM_UP_S = 1.0  # iterations before that do not count: they load models and make the first objects


async def main() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = inferd.Server(inferd.Settings(models=(sys.argv[1],), grpc_port=0, http_port=0, metrics_port=-1))
    real = await server.start()
    held_ns, last_ns = 0, 0
    begun = time.monotonic()

    def tick() -> None:
        nonlocal held_ns, last_ns
        now_ns = time.thread_time_ns()
        if time.monotonic() - begun > WARM_UP_S:
            held_ns = max(held_ns, now_ns - last_ns)
        last_ns = now_ns
        if not ended.is_set():
            loop.call_soon(tick)

    tick()
    print(json.dumps({"http": real["http"]}), flush=True)
    await ended.wait()
    print(json.dumps({"held_ms": held_ns / 1e6}), flush=True)
    await server.stop()


if __name__ == "__main__":
    uvloop.run(main())
