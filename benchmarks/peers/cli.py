"""All peers, the same models and loads, interleaved in one run. `make peers`, or

    python benchmarks/peers [--family rest] [--quick] [--peers inferd,triton] [--models mlp] [--in-flight 1,8,64] [--rounds 3] ...

For each model every peer is started by itself, then they take turns: round after round, each is measured while the processes of the
others are stopped. Every peer's answer is held against ONNX Runtime's before and after. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import load as h2load
import servers

from . import asking, catalogue, installs, loads, models, pages, results, running
from .asking import Question, WrongAnswer
from .catalogue import Peer
from .families import FAMILIES, ROOT
from .installs import Installed, Missing
from .loads import Figures, Load, Unmeasured
from .models import Model
from .running import Running

QUICK = {"models": "identity,mlp,squeezenet", "in_flight": "1,64", "rounds": 1, "seconds": 1.0}
# Of the open loops: what a slow peer can do on two cores, too.
RATES = {"identity": 500.0, "mlp": 500.0, "image": 100.0, "squeezenet": 40.0, "resnet50": 6.0, "minilm": 40.0}
PROGRAMS = (ROOT / ".tools" / "bin", "/usr/sbin")  # beside those on the PATH


class Contender(NamedTuple):
    """A peer that answers."""

    running: Running
    question: Question
    folder: Path


@dataclass
class Found:
    """What the run showed so far, by model."""

    figures: dict[tuple[str, str, str], list[Figures]] = field(default_factory=dict)  # model, peer, load
    starts: dict[tuple[str, str], float] = field(default_factory=dict)  # model, peer; seconds
    memory: dict[tuple[str, str], int] = field(default_factory=dict)  # bytes, after all loads
    failures: dict[tuple[str, str, str], str] = field(default_factory=dict)  # model, peer, load or ""; why

    def add(self, model: str, peer: str, load: str, figures: Figures) -> None:
        self.figures.setdefault((model, peer, load), []).append(figures)

    def failed(self, model: str, peer: str, load: str, why: str) -> None:
        self.failures.setdefault((model, peer, load), why)
        print(f"  {peer}, {load or 'start'}: {why}", flush=True)

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for (model, peer, load), rounds in self.figures.items():
            medians = {name: round(statistics.median(getattr(one, name) for one in rounds), 2) for name in Figures._fields}
            rows.append({"model": model, "peer": peer, "load": load, "rounds": len(rounds), **medians})
        return rows


def measure_model(model: Model, here: list[tuple[Peer, Installed]], given: argparse.Namespace, found: Found, folder: Path) -> None:
    """All peers on one model."""
    with ExitStack() as stack:
        contenders: list[Contender] = []
        without_server = [(peer, installed) for peer, installed in here if peer.protocol == "none"]
        for peer, installed in here:
            if peer.protocol == "none" or not peer.serves(model.name):
                continue
            with all_stopped(contenders):
                contender = started(peer, installed, model, found, folder / model.name / peer.name, stack)
            contenders += [contender] if contender else []
        for load in loads_of(model, given):
            counts: dict[str, int] = {}
            for turn in range(given.rounds):
                order = contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)] if contenders else []
                for contender in order:
                    with all_stopped([other for other in contenders if other is not contender]):
                        take_turn(contender, model, load, given, found, counts)
                with all_stopped(contenders):
                    for peer, installed in without_server:
                        loop_turn(peer, installed, model, load, given, found)
        for contender in contenders:
            found.memory[model.name, contender.running.peer.name] = running.memory_bytes(contender.running)


def loads_of(model: Model, given: argparse.Namespace) -> list[Load]:
    closed = [Load(in_flight=in_flight) for in_flight in given.in_flight]
    return closed + ([Load(rate=RATES[model.name])] if given.open_loop else [])


def started(peer: Peer, installed: Installed, model: Model, found: Found, folder: Path, stack: ExitStack) -> Contender | None:
    own = ExitStack()
    try:
        server = own.enter_context(running.start(peer, installed.python, model, folder))
        question, start_s = asking.until_right(server, model, folder)
    except (RuntimeError, WrongAnswer) as error:
        own.close()
        found.failed(model.name, peer.name, "", str(error))
        return None
    stack.enter_context(own)
    found.starts[model.name, peer.name] = start_s
    print(f"  {peer.title} answers after {start_s:.1f} s", flush=True)
    return Contender(server, question, folder)


def take_turn(contender: Contender, model: Model, load: Load, given: argparse.Namespace, found: Found, counts: dict[str, int]) -> None:
    """One round of one peer. One that failed in an earlier round gets its turn, too."""
    name, server, log = contender.running.peer.name, contender.running, contender.folder / "latencies"
    if load.rate and server.peer.protocol != "grpc":  # `inferd bench` speaks gRPC
        return
    try:
        asking.ask(server, model)
        if load.rate:
            seconds = loads.open_loop_s(load.rate, given.seconds)
            # Each round has other arrivals, and in it all peers have the same: the rate of a short one is some percent off by chance.
            seed = len(found.figures.get((model.name, name, str(load)), ()))
            figures = loads.bench(server, model, contender.question, load.rate, seconds, contender.folder / "bench.json", seed)
        else:
            if name not in counts:
                counts[name] = loads.requests_for(server, contender.question, load.in_flight, given.seconds, log)
            figures = loads.h2load(server, contender.question, load.in_flight, counts[name], log)
        asking.ask(server, model)
    except Exception as error:  # whatever it is, it is this peer's, and the others go on
        found.failed(model.name, name, str(load), f"{type(error).__name__}: {error}" if not isinstance(error, Unmeasured) else str(error))
        return
    found.add(model.name, name, str(load), figures)
    show(contender.running.peer.title, load, figures)


def loop_turn(peer: Peer, installed: Installed, model: Model, load: Load, given: argparse.Namespace, found: Found) -> None:
    if load.rate:
        return
    try:
        figures, start_s, memory = loads.in_process(peer.words(python=installed.python), model, load.in_flight, given.seconds)
    except Unmeasured as error:
        found.failed(model.name, peer.name, str(load), str(error))
        return
    found.add(model.name, peer.name, str(load), figures)
    found.starts[model.name, peer.name], found.memory[model.name, peer.name] = start_s, memory
    show(peer.title, load, figures)


def show(title: str, load: Load, figures: Figures) -> None:
    text = f"{figures.requests_s:10,.0f}/s  p50 {figures.p50_us:9,.0f} us  p99 {figures.p99_us:9,.0f} us  CPU {figures.cpu_us:8,.1f} us"
    print(f"  {load!s:>13}  {title:24} {text}", flush=True)


@contextmanager
def all_stopped(contenders: list[Contender]) -> Iterator[None]:
    """In the block their processes take no part: an idle server's heartbeats would be another's noise."""
    stopped = [pid for contender in contenders for pid in running.stop(contender.running)]
    try:
        yield
    finally:
        running.go_on(stopped)


def chosen(text: str, known: list[str], what: str, parser: argparse.ArgumentParser) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/peers", description="inferd beside its peers, in one interleaved run.")
    parser.add_argument("--family", choices=FAMILIES, default="peers", help="rest: HTTP servers, on a page of their own (default: peers)")
    parser.add_argument("--peers", help="which (default: all of the family)")
    parser.add_argument("--without", default="", help="peers to leave out")
    parser.add_argument("--models", help=f"of {','.join(models.RECIPES)} (default: the family's)")
    parser.add_argument("--in-flight", help="closed loops (default 1,8,64; of rest 64)")
    parser.add_argument("--rounds", type=int, help="of each load; medians are shown (default 3; of rest 5)")
    parser.add_argument("--seconds", type=float, help="about how long a round lasts, longer for slow models (default 1.5)")
    parser.add_argument("--quick", action="store_true", help="three models, 1 and 64 in flight, one round of a second, nothing written")
    parser.add_argument("--no-open-loop", dest="open_loop", action="store_false", help="without `inferd bench`'s open loops")
    parser.add_argument("--tritonserver", type=Path, help="another Triton's program; TRITON_BACKENDS names its back ends' folder")
    parser.add_argument("--lock", action="store_true", help="install, then write each peer's constraints.txt from what came, and end")
    parser.add_argument("--install-only", action="store_true", help="make the environments and end")
    parser.add_argument("--pages-only", action="store_true", help="write the pages from the newest line of history and end")
    parser.add_argument("--no-history", action="store_true", help="measure and print, write nothing")
    parser.add_argument("--note", default="", help="a word for the line of history")
    given = parser.parse_args(words)
    family = FAMILIES[given.family]
    peers = [peer.name for peer in catalogue.every(given.family)]
    whole: dict[str, object] = {"peers": ",".join(peers), "models": ",".join(family.models), "in_flight": family.in_flight}
    whole |= {"rounds": family.rounds, "seconds": 1.5}
    for name, value in (whole | QUICK if given.quick else whole).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    without = chosen(given.without, peers, "peer", parser)
    given.peers = [name for name in chosen(given.peers, peers, "peer", parser) if name not in without]
    given.models = chosen(given.models, list(models.RECIPES), "model", parser)
    given.in_flight = [int(text) for text in chosen(given.in_flight, [str(number) for number in loads.SHAPES], "load", parser)]
    given.no_history = given.no_history or given.quick
    given.open_loop = given.open_loop and family.open_loop and loads.has_bench()
    return given


def main() -> int:
    given = arguments()
    if given.pages_only:
        for family in FAMILIES.values():
            if family.history.exists():
                pages.write_pages(family)
        return 0
    os.environ["PATH"] += "".join(os.pathsep + str(folder) for folder in PROGRAMS)
    if given.tritonserver:
        os.environ["TRITONSERVER"] = str(given.tritonserver)
    if missing := h2load.missing_programs(["h2load"]):
        print(f"missing programs: {', '.join(missing)}; `make peers` installs them", file=sys.stderr)
        return 2
    peers = [peer for peer in catalogue.every(given.family) if peer.name in given.peers]
    installed = {peer.name: installs.ready(peer) for peer in peers}
    for peer in peers:
        state = installed[peer.name]
        print(f"{peer.title}: {state.why_not if isinstance(state, Missing) else state.version}", flush=True)
    if given.lock:
        for peer in peers:
            if peer.requirements is not None and isinstance(installed[peer.name], Installed):
                installs.lock(peer)
    if given.install_only or given.lock:
        return 0
    return measure(given, peers, installed)


def interrupted(number: int, frame: object) -> None:
    """SIGTERM ends a run as Ctrl-C does: with every server that it started."""
    raise KeyboardInterrupt


def measure(given: argparse.Namespace, peers: list[Peer], installed: dict[str, Installed | Missing]) -> int:
    signal.signal(signal.SIGTERM, interrupted)
    found, begun, load_1m = Found(), time.monotonic(), os.getloadavg()[0]
    here = [(peer, state) for peer in peers if isinstance(state := installed[peer.name], Installed)]
    folder = Path(tempfile.mkdtemp(prefix="peers-"))
    try:
        for name in given.models:
            model = models.ready(name, installs.ENVIRONMENTS / "models", servers.cores())
            print(f"{name}: {model.about}", flush=True)
            measure_model(model, here, given, found, folder)
    except KeyboardInterrupt:
        print("ended early: what was measured is shown, nothing is written", file=sys.stderr)
        given.no_history = True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    line = results.line(given, peers, installed, found, time.monotonic() - begun, load_1m)
    print("\n" + results.tables(line))
    if not given.no_history:
        family = FAMILIES[given.family]
        results.append(family, line)
        pages.write_pages(family)
    return 0
