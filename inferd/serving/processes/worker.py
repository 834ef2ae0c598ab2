"""A worker: one of several processes that serve the same addresses. It opens none: its supervisor (dispatcher.py) hands it connections.

`python -m inferd.serving.processes.worker DESCRIPTOR`, where the descriptor is its end of the channel. It drains and ends when it is told
to stop. It ends at once when the supervisor is gone, so that no worker is left without one.

- SIGTERM while it loads: ends it. Later, it asks the supervisor to replace it, gets no more connections and drains.
- SIGINT, SIGHUP: ignored, as the supervisor handles them. Ctrl-C does not reach a worker, which has its own process group.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from inferd import log as logs
from inferd.config import Settings
from inferd.errors import ConfigError, InferdError
from inferd.serving.parts.live_settings.part import LiveSettingsPart
from inferd.serving.processes.channel import Channel
from inferd.serving.processes.process import end_now, loop_factory
from inferd.serving.server import Server

if TYPE_CHECKING:
    from collections.abc import Collection

    from inferd.observe.metrics import Metrics
    from inferd.serving.processes.channel import Message

log = logging.getLogger("inferd.serving.processes.worker")  # which is __main__ here

LOOK_S = 0.05  # between two looks at its connections
HEARTBEAT_LOOKS = 20  # a worker reports after so many looks even if nothing has changed, to show that its event loop runs


class Worker:
    """A Server and its end of the channel, on the running event loop."""

    def __init__(self, settings: Settings, channel: Channel) -> None:
        """Raises ConfigError for a wrong setting."""
        self._channel = channel
        self._server = Server(settings, opens=False, hung=self._ask_to_be_replaced)
        self._server.parts.of(LiveSettingsPart).live.show = self._show_levels
        self._metrics: Metrics = self._server.parts.metrics()
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._last_page = -1  # the descriptor for its last page of metrics
        self._taken = 0  # connections
        self._ended = 0  # connections, at the last look
        self._able = True
        self._asked = False  # it has asked to leave
        self._missed = False  # it has missed a message with new settings
        self._reported = (-1, -1, True, False)
        self._looks = 0

    async def run(self) -> bool:
        """Serves until told to stop. False: a run is left behind, which does not end.

        Raises ConfigError and StartError where models cannot be loaded."""
        self._loop.add_reader(self._channel.fileno(), self._receive)
        await self._server.start()
        self._loop.add_signal_handler(signal.SIGTERM, self._ask_to_leave)
        self._channel.send("ready", models=msgspec.to_builtins(self._server.summaries()))
        self._look()
        await self._stopped.wait()
        await self._server.stop()
        if self._last_page >= 0:
            self._tell_metrics(self._last_page)
        return not self._server.runs_left

    def _receive(self) -> None:
        try:
            while (message := self._channel.receive()) is not None:
                self._obey(message)
        except EOFError:
            if not self._server.loading:
                log.warning("ended at once: the supervisor is gone")
            end_now(1)
        self._looks = HEARTBEAT_LOOKS  # reports at once, so that the supervisor knows of room in the channel
        self._report()

    def _obey(self, message: Message) -> None:
        match message.kind:
            case "connection":
                self._take(message)
            case "metrics" if message.descriptor >= 0:
                threading.Thread(target=self._tell_metrics, args=(message.descriptor,), name="inferd-metrics", daemon=True).start()
            case "reload":
                self._reload(**message.fields)
            case "log":
                logs.show_levels(message.fields["levels"])
            case "missed":  # only settings are long enough for that
                self._miss()
            case "not_ready":
                self._server.set_not_ready()
            case "stop" if self._server.loading:  # a load cannot be interrupted, and no client waits
                end_now(0)
            case "stop":
                self._last_page = message.descriptor
                self._stopped.set()

    def _take(self, message: Message) -> None:
        self._taken += 1
        if message.descriptor < 0:
            self._lost()
            return
        opened = socket.socket(fileno=message.descriptor)
        opened.setblocking(False)
        self._server.edge.take(opened, **message.fields)

    def _lost(self) -> None:
        """Called when a connection is lost: the kernel had no descriptor for it. Until there are some, other workers get connections."""
        self._able = False
        log.warning(
            "a connection is lost: no file descriptor is left; raise the limit on open files (ulimit -n), or lower max_connections",
            extra=logs.LIMITED,
        )

    def _reload(self, **settings: object) -> None:
        """settings: those that a running server can change."""
        taken = msgspec.convert(msgspec.structs.asdict(self._server.settings) | settings, Settings)
        self._missed = False
        self._server.settings = taken
        logs.change(taken.log_level, taken.log_format)
        self._server.reload()

    def _show_levels(self, levels: Collection[int]) -> None:
        """Called when a client changed the log: changes that of all processes."""
        logs.show_levels(levels)
        self._channel.send("log", levels=sorted(levels))

    def _miss(self) -> None:
        """Called when new settings were missed. Each report has that until they come: the supervisor sends them again once a second."""
        if not self._missed:
            log.error("settings that were read again are not taken yet: no file descriptor is left; raise the limit (ulimit -n)")
        self._missed = True

    def _ask_to_leave(self) -> None:
        self._asked = self._channel.send("leaving")

    def _ask_to_be_replaced(self) -> None:
        """Called while a run does not end, as its instance is lost to this process."""
        if not self._asked:
            log.error("a run does not end: this worker drains, and another takes its place")
            self._ask_to_leave()

    def _look(self) -> None:
        self._looks += 1
        self._ended = self._taken - self._server.edge.open_connections
        self._able = self._able or _has_descriptors()
        self._report()
        self._loop.call_later(until_look_s(time.monotonic()), self._look)

    def _report(self) -> None:
        """Reports to the supervisor if something changed, or after HEARTBEAT_LOOKS: connections taken and ended, whether it can take more,
        and whether it missed settings."""
        state = self._taken, self._ended, self._able, self._missed
        due = state != self._reported or self._looks >= HEARTBEAT_LOOKS
        if not due or self._server.loading:
            return
        if self._channel.send("report", taken=state[0], ended=state[1], able=state[2], missed=state[3]):
            self._reported, self._looks = state, 0

    def _tell_metrics(self, descriptor: int) -> None:
        """Writes its page of metrics. A pipe needs a thread, as its reader may be slow."""
        with suppress(OSError), open(descriptor, "wb") as file:
            file.write(self._page())

    def _page(self) -> bytes:
        try:
            return msgspec.json.encode(self._metrics.page())
        except Exception:
            log.exception("metrics could not be collected")
            return b""


def until_look_s(now_s: float) -> float:
    """The time from now, on the machine's monotonic clock, to the next look, half of LOOK_S at least.

    All workers look at the same moments, so that the supervisor hears from all of them together. Between two looks it counts connections
    that have ended for all of them alike.
    """
    left_s = LOOK_S - now_s % LOOK_S
    return left_s if left_s >= LOOK_S / 2 else left_s + LOOK_S


def _has_descriptors() -> bool:
    try:
        os.close(os.dup(0))
    except OSError:
        return False
    return True


async def _serve(settings: Settings, channel: Channel) -> int:
    try:
        if not await Worker(settings, channel).run():
            end_now(0)  # a normal exit of the interpreter would wait for the run, or crash in it
    except InferdError as error:
        channel.send("failed", text=str(error), setting=isinstance(error, ConfigError))
        return 3
    return 0


def main() -> None:
    # The last one comes when it logs to the terminal of another process group.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    try:
        first = channel.receive()
    except EOFError:
        return
    assert first is not None, "settings are sent before a worker is started"
    settings = msgspec.convert(first.fields["settings"], Settings)
    logs.set_up(settings.log_level, settings.log_format, worker=first.fields["number"])
    with asyncio.Runner(loop_factory=loop_factory(settings)) as runner:
        code = runner.run(_serve(settings, channel))
    gc.freeze()  # as inferd.cli.main does
    sys.exit(code)


if __name__ == "__main__":
    main()
