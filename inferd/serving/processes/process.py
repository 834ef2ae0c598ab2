"""A server as a process: from its settings to its exit code, with signals. Never in here: serving (server.py).

- SIGTERM, SIGINT: it is not ready, sends GOAWAY, drains and ends. A second one ends the process at once.
- SIGUSR1, which `inferd drain` sends: the same, but nothing if it drains already.
- SIGHUP: reads certificates, tokens, and settings that can change in a running server. While it starts, it does so once it is ready;
  while it drains, it does nothing.

Until there is a loop, signals are blocked, except SIGINT (cli/__init__.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec

from inferd import log as logs
from inferd.config import RELOADED
from inferd.engine.loading.planner import Host
from inferd.errors import ConfigError, StartError
from inferd.serving.listening.sockets import remove_socket_files
from inferd.serving.processes.supervisor import Supervisor
from inferd.serving.processes.systemd import Inherited, Notifier, inherited_sockets
from inferd.serving.processes.worker_settings import count
from inferd.system import descriptors
from inferd.threads import limit_told

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.config import Settings
    from inferd.serving.summary import ModelSummary

    Ready = Callable[[dict[str, object], list[ModelSummary]], object]

log = logging.getLogger(__name__)

HARMLESS = (signal.SIGHUP, signal.SIGUSR1)  # they must never end the process
HELD = (*HARMLESS, signal.SIGTERM)  # blocked by the command until there is a loop


class Served(Protocol):
    """The server of a process: one Server, or the supervisor of several."""

    settings: Settings
    loading: bool
    fixed: frozenset[str]  # settings of RELOADED that it cannot change
    runs_left: bool  # after stop(): a run does not end

    async def start(self) -> dict[str, object]: ...
    def summaries(self) -> list[ModelSummary]: ...  # once it is started
    async def stop(self) -> None: ...
    def reload(self) -> None: ...


def serve(settings: Settings, ready: Ready, reread: Callable[[], Settings] | None = None) -> int:
    """Serves until a signal ends it. ready(addresses, models) is called once, when requests are served. reread(): reads the settings again,
    for SIGHUP; raises ConfigError if they are wrong.

    Returns the exit code 0. A signal while models are loaded ends the process at once, also with 0: a load cannot be interrupted, and no
    client waits."""
    descriptors.allow()
    sockets = inherited_sockets()
    with limit_told(), asyncio.Runner(loop_factory=loop_factory(settings)) as runner:
        try:
            if runner.run(_serve(settings, ready, reread, sockets)):
                end_now(0)  # a normal exit of the interpreter would wait for the run, or crash in it
        finally:
            for number in HARMLESS:  # they must not interrupt the exit
                signal.signal(number, signal.SIG_IGN)
    return 0


def loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop]:
    """The factory of the event loop that the settings ask for."""
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if settings.uvloop and find_spec("uvloop") is not None:
        import uvloop

        make = uvloop.new_event_loop

    def made() -> asyncio.AbstractEventLoop:
        loop = make()
        loop.set_exception_handler(logs.loop_failed)
        return loop

    return made


def _served(settings: Settings, sockets: list[Inherited], fail: Callable[[], None]) -> Served:
    """Makes the server. fail(): called when it has to stop; stop() then raises why."""
    workers = count(settings, Host.detect())
    if workers > 1:
        return Supervisor(settings, workers, sockets, fail)
    from inferd.serving.server import Server  # it imports all that runs models, which a supervisor does not need

    return Server(settings, sockets)


async def _serve(
    settings: Settings,
    ready: Ready,
    reread: Callable[[], Settings] | None,
    sockets: list[Inherited],
) -> bool:
    """Serves until a signal. True: a run is left behind, which does not end."""
    stopped, terminated, hung_up, serves = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    notifier = Notifier(loop)

    def hang_up() -> None:
        hung_up.set()
        if serves.is_set() and not stopped.is_set():
            _reload(server, reread, notifier)

    pid_file = _pid_file(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopped, terminated, number, pid_file)
    _call_on(signal.SIGUSR1, loop, stopped.set)
    _call_on(signal.SIGHUP, loop, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    server = _served(settings, sockets, stopped.set)
    start = asyncio.create_task(server.start())
    signalled = asyncio.create_task(stopped.wait())
    await asyncio.wait((start, signalled), return_when=asyncio.FIRST_COMPLETED)
    if server.loading:
        log.info("stopped before the models were loaded")
        end_now(0, pid_file)
    try:
        addresses = await start
        if pid_file is not None:
            _write_pid(pid_file)
        if not stopped.is_set():
            ready(addresses, server.summaries())
            notifier.tell("READY=1")
        serves.set()
        if hung_up.is_set():
            hang_up()
        await signalled
        notifier.tell("STOPPING=1")
        log.info(
            "stopping: serving what is queued, for %s s at most",
            server.settings.drain_timeout_s,
            extra=logs.event("server_draining", drain_timeout_s=server.settings.drain_timeout_s),
        )
    finally:  # also when `ready` raised: a loop that still has connections does not close
        try:
            await server.stop()
        finally:
            if pid_file is not None:
                _remove_pid(pid_file)
    return server.runs_left


def _call_on(number: int, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Calls back on the loop at a signal. The loop's own handlers are removed when it closes, and then the signal would end the process."""
    signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def _stop(stopped: asyncio.Event, terminated: asyncio.Event, number: int, pid_file: Path | None) -> None:
    """Called at SIGTERM or SIGINT. The first one only drains, even if the server drains already (`inferd drain`)."""
    if terminated.is_set():
        log.warning("stopped at once, by a second signal: what was not served is lost")
        end_now(128 + number, pid_file)
    terminated.set()
    stopped.set()


def end_now(code: int, pid_file: Path | None = None) -> NoReturn:
    """Ends the process at once. Removes its socket files and its pid file."""
    remove_socket_files()
    if pid_file is not None:
        _remove_pid(pid_file)
    logging.shutdown()
    os._exit(code)


def _reload(server: Served, reread: Callable[[], Settings] | None, notifier: Notifier) -> None:
    notifier.tell("RELOADING=1")
    if reread is not None:
        try:
            _take(server, reread())
        except ConfigError as error:
            log.error("settings were not read again: %s", error)
    server.reload()
    notifier.tell("READY=1")


def _take(server: Served, read: Settings) -> None:
    old, new = (msgspec.structs.asdict(each) for each in (server.settings, read))
    changed = [name for name in old if old[name] != new[name]]
    takes = set(RELOADED) - server.fixed
    if old["tls_client_ca"] != new["tls_client_ca"]:
        takes.discard("tls_allow")  # names for authorities that are not in use yet: they would reject all clients, or let in others
    if not new["tls_allow"]:
        takes.discard("tls_allow")  # the file may be half written, and no names would let in all clients
    if taken := {name: new[name] for name in changed if name in takes}:
        server.settings = msgspec.structs.replace(server.settings, **taken)
        logs.change(server.settings.log_level, server.settings.log_format)
        said = ", ".join(f"{name}={value}" for name, value in taken.items())
        log.info("settings were read again: %s", said, extra=logs.event("settings_reloaded", settings=taken))
    elif not changed:
        log.info("settings were read again: nothing changed", extra=logs.event("settings_reloaded", settings={}))
    if waiting := [name for name in changed if name not in takes]:
        log.warning("%s: changed, and taken at the next start only", ", ".join(waiting))


def _pid_file(settings: Settings) -> Path | None:
    """The pid file. Checks that it can be written before models are loaded."""
    if settings.pid_file is None:
        return None
    file = Path(settings.pid_file).absolute()
    try:
        if not file.exists():
            with tempfile.TemporaryFile(dir=file.parent):
                pass
        else:
            os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        raise _unwritable(file, error) from None
    return file


def _write_pid(file: Path) -> None:
    try:
        file.write_text(f"{os.getpid()}\n", "ascii")
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file: Path, error: OSError) -> StartError:
    return StartError(f"pid_file: expected a file that can be written, got '{file}': {error.strerror}")


def _remove_pid(file: Path) -> None:
    """Removes the file, unless it names a process that started while this one drained."""
    with suppress(OSError, ValueError):
        if int(file.read_text("ascii")) == os.getpid():
            file.unlink()
