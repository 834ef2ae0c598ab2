"""User-space instructions that a request costs the server, by group of functions, beside nghttpd's for a static file.

    python benchmarks/instructions.py [--sections nghttpd,inline,executor,stream,large] [--requests 4096] [--functions 30] [--no-history]
    python benchmarks/instructions.py --sections inline,executor --compare

Instructions repeat within 1 % on a busy machine, where times do not. The server runs under valgrind's callgrind, the client does not:
it sends all requests of a round at once (lockstep.py), so every batch is full. Requests of 602 KB come from h2load, since lockstep.py
knows no flow control. slow_clock.c keeps time limits in proportion. The program counts between two rounds, after a warm-up, and divides
by the responses that the server submitted to libnghttp2; of streams, by the messages that came back.

It prints the table and appends one line to benchmarks/history/instructions.jsonl. --compare adds no line: it compares the totals with
the newest line of the same versions, and ends with 1 when one of them grew by more than 3 %.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import callgrind
import sections
import servers
import workloads
from callgrind import Function, Profile
from load import Load, Target, drive, missing_programs, pin_core
from lockstep import Lockstep, Request
from record import Report, versions
from server_cost import Checker, answer_of
from servers import Running

HISTORY = Path(__file__).resolve().parent / "history" / "instructions.jsonl"
PROGRAMS = {"valgrind": "--version", "nghttpd": "--version"}
COMPARABLE = ("python", "onnxruntime", "uvloop", "nghttpd")  # lines of history are, with the same versions of these
LOADS = (Load(4, 16), Load(64, 1), Load(8, 1))
LARGE = Load(4, 4)
SMALL_PER_LARGE = 8  # one large request is counted where so many small ones are
MOST_GROWTH = 0.03
MOST_OTHER = 0.03  # of the total: more is listed by function
WARM_UP = 1024  # requests before counting
COMMON = {":scheme": "http", ":authority": "127.0.0.1", "user-agent": "lockstep"}
GRPC = {**COMMON, "content-type": "application/grpc", "te": "trailers"}

TRANSPORT = ("*/_core/http2/*", "*/_core/net/*")
SCHEDULING = (
    *("turn", "iteration", "line_up", "has_time", "schedule", "budget", "limit", "flood", "stall", "keepalive", "low_water", "gather"),
    *("acquire", "release", "memory", "poller", "consume"),
)  # words in the names of functions
# Group -> patterns of object file and function; the first group that matches counts. Patterns name packages where they can, so that
# they hold when modules and functions are renamed.
GROUPS: dict[str, tuple[tuple[str, str], ...]] = {
    "nghttp2": (("*/libnghttp2.so*", "*"),),
    "ONNX Runtime": (("*/onnxruntime/*", "*"),),
    "event loop": (("*/uvloop/*", "*"),),
    "clock": (("*/slow_clock.so", "*"), ("*/libc.so*", "clock_gettime*"), ("*/libc.so*", "syscall"), ("*/_core/*", "*monotonic_ns*")),
    "path of a request": (("*/_core/inference/*", "*"),),
    "batcher": (("*/_core/batching/*", "*"),),
    "decode, check, encode, statistics": (("*/_core/codec/*", "*"), ("*/_core/tensor/*", "*"), ("*/_core/metrics/*", "*")),
    "call objects": (("*/_core/grpc/call*", "*"), ("*/_core/http/call*", "*"), ("*/_core/http2/stream*", "*")),
    "gRPC framing and messages": (("*/_core/grpc/*", "*"),),
    "headers": (("*/_core/http2/headers*", "*"), ("*/_core/http2/*", "*header*")),
    "send": (
        ("*/_core/http2/send*", "*"),
        *((module, f"*{word}*") for module in TRANSPORT for word in ("Output", "flush", "send", "write")),
    ),
    "scheduling and limits": tuple((module, f"*{word}*") for module in TRANSPORT for word in SCHEDULING),
    "HTTP/2 session": tuple((module, "*") for module in TRANSPORT),
    "Python interpreter": (
        *(("*/libpython3*", "*"), ("*/bin/python3*", "*"), ("*/lib-dynload/*", "*")),
        *(("*/_core/_cython*", "*"), ("*/libpthread*", "*")),
    ),
    "libc": tuple((f"*/{library}*", "*") for library in ("libc.so", "libm.so", "libstdc++.so", "libjemalloc.so", "ld-linux")),
    "nghttpd": (("*/nghttpd", "*"), ("*/libev.so*", "*")),
}
OTHER = "other"
CALLS = {  # functions of libc, by what a call of one is
    "clock reads": ("clock_gettime",),
    "event loop iterations": ("epoll_wait", "epoll_pwait"),
    "reads": ("recv", "read", "readv", "recvmsg"),
    "writes": ("send", "write", "writev", "sendmsg"),
}


def group_of(function: Function) -> str:
    path, name = function
    for group, patterns in GROUPS.items():
        if any(fnmatchcase(path, of_path) and fnmatchcase(name, of_name) for of_path, of_name in patterns):
            return group
    return OTHER


def responses(profile: Profile) -> int:
    """The server's own count: each response is submitted once."""
    return profile.called("nghttp2_submit_response", "nghttp2_submit_response2")


def by_group(profile: Profile) -> Counter[str]:
    found: Counter[str] = Counter()
    for function, instructions in profile.instructions.items():
        found[group_of(function)] += instructions
    return found


def costly(profile: Profile, most: int, group: str | None = None, messages: int = 0) -> Iterator[str]:
    """The functions that take the most themselves, of one group or of all, one a line."""
    requests, left = messages or responses(profile), most
    for function, instructions in profile.instructions.most_common():
        of = group_of(function)
        if left == 0:
            return
        if group in (None, of):
            left -= 1
            path, name = function
            times = profile.calls[function] / requests
            yield f"    {instructions / requests:8,.1f}  {times:6.2f} calls  {of:26}  {Path(path).name.partition('.')[0]}: {plain(name)}"


def plain(name: str) -> str:
    """A function's name without what Cython puts before it: lengths and names of the packages."""
    head, _, rest = name.partition("6inferd_5_core_")
    if not rest or not head.startswith("__pyx_"):
        return name
    words = []
    while rest[:1].isdigit():
        digits = len(rest) - len(rest.lstrip("0123456789"))
        length = int(rest[:digits])
        words.append(rest[digits : digits + length])
        rest = rest[digits + length :].removeprefix("_")
    return ".".join([*words[2:], rest]) if rest else ".".join(words[2:])


def figures(profile: Profile, messages: int = 0) -> dict[str, Any]:
    """For the line of history: everything a request. messages: how many a stream had; 0: the requests were calls."""
    requests = messages or responses(profile)
    if requests == 0:
        raise RuntimeError("the server submitted no response while instructions were counted")
    groups = by_group(profile)
    return {
        "total": round(groups.total() / requests),
        "groups": {name: round(groups[name] / requests, 1) for name in (*GROUPS, OTHER) if groups[name]},
        "calls": {name: round(profile.called(*functions) / requests, 3) for name, functions in CALLS.items()},
        "requests": requests,
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Groups down, loads across. found: section -> load -> figures."""
    columns = [(section, load, found[section][load]) for section in found for load in found[section]]
    names = [name for name in (*GROUPS, OTHER) if any(name in cell["groups"] for *_, cell in columns)]
    rows = [["instructions a request", *(f"{section} {load}" for section, load, _ in columns)]]
    rows += [[name, *(f"{cell['groups'].get(name, 0):,.0f}" for *_, cell in columns)] for name in names]
    rows += [["total", *(f"{cell['total']:,}" for *_, cell in columns)]]
    rows += [[name, *(f"{cell['calls'][name]:.2f}" for *_, cell in columns)] for name in CALLS]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


# ---------------------------------------------------------------------------------------------------------------------
# Counting


class Counting:
    """One run of this program."""

    requests = 4096  # counted of each load
    functions = 0  # listed of each load, the costliest

    def count(self, report: Report, folder: Path, server: Running, load: Load, run: Callable[[int], int], streaming: bool = False) -> None:
        """run: sends about so many requests, and returns how many these were."""
        run(WARM_UP)
        with callgrind.counting(server.pid):
            run(1)
            callgrind.dumped(server.pid, folder, server.name)
            sent = run(self.requests)
            profile = callgrind.dumped(server.pid, folder, server.name)
        found = figures(profile, sent if streaming else 0)
        if found["requests"] != sent:
            raise RuntimeError(f"{sent} requests were sent, and {found['requests']} responses counted")
        report.numbers.setdefault(server.name, {})[str(load)] = found
        report.add(f"{server.name} {load}: instructions a request", "", f"{found['total']:,}")
        if found["groups"].get(OTHER, 0) > MOST_OTHER * found["total"]:
            print("\n".join(["  functions of no group:", *costly(profile, 10, OTHER, sent)]))
        if self.functions:
            print("\n".join(costly(profile, self.functions, messages=sent)))

    def in_lockstep(self, report: Report, folder: Path, server: Running, load: Load, request: Request, streaming: bool = False) -> None:
        a_round = load.connections * load.streams
        with Lockstep(server.pid, server.address, request, load.connections, load.streams, streaming) as client:
            self.count(report, folder, server, load, lambda requests: client.run(max(requests // a_round, 1)), streaming)

    def inferd(self, name: str, inline: str, streaming: bool = False) -> sections.Section:
        def section(report: Report, folder: Path) -> None:
            repository = folder / "repository"
            workload = workloads.identity(repository)
            path = workloads.STREAM_PATH if streaming else workloads.INFER_PATH
            request = Request({":method": "POST", ":path": path, **GRPC}, workload.write_body(folder).read_bytes())
            python = (*callgrind.command(folder, name, pin_core()), sys.executable)
            flags = ("--transport", "native", "--inline", inline)
            with servers.inferd(name, [repository], folder, *flags, python=python) as server:
                checker = Checker(server.address, workload, answer_of(repository, workload))
                for load in LOADS:
                    checker.check()
                    self.in_lockstep(report, folder, server, load, request, streaming)
                    checker.check()

        section.__doc__ = f"identity FP32[1,16], --inline {inline}" + (", one stream a connection" if streaming else "")
        return section

    def nghttpd(self, report: Report, folder: Path) -> None:
        """nghttpd, a static file: the yardstick"""
        with servers.nghttpd(folder, callgrind.command(folder, "nghttpd", pin_core())) as server:
            for load in LOADS:
                self.in_lockstep(report, folder, server, load, Request({":method": "GET", ":path": "/file", **COMMON}))

    def large(self, report: Report, folder: Path) -> None:
        """FP32[1,3,224,224], 602 KB, to a GlobalAveragePool, --inline off"""
        repository = folder / "repository"
        workload = workloads.pool(repository)
        python = (*callgrind.command(folder, "large", pin_core()), sys.executable)
        with servers.inferd("large", [repository], folder, "--transport", "native", "--inline", "off", python=python) as server:
            target = Target(f"http://{server.address}{workloads.INFER_PATH}", workload.write_body(folder))
            checker = Checker(server.address, workload, answer_of(repository, workload))
            checker.check()
            self.count(
                *(report, folder, server, LARGE), lambda requests: drive(server.pid, target, LARGE, requests // SMALL_PER_LARGE).requests
            )
            checker.check()


# ---------------------------------------------------------------------------------------------------------------------
# Comparing


def comparable(history: Path, of: Mapping[str, str]) -> dict[str, Any] | None:
    """The newest line whose figures were counted with these versions."""
    lines = [json.loads(text) for text in history.read_text("utf-8").splitlines()] if history.exists() else []
    for line in reversed(lines):
        if all(line["versions"].get(name) == of.get(name) for name in COMPARABLE):
            found: dict[str, Any] = line
            return found
    return None


def compare(report: Report, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Adds a row for each total that both have. Results are section -> load -> figures."""
    for section, loads in now.items():
        for load, found in loads.items():
            was = before.get(section, {}).get(load)
            if was is not None:
                grown = f"{found['total'] / was['total'] - 1:+.1%} ({was['total']:,} -> {found['total']:,})"
                kept = found["total"] <= (1 + MOST_GROWTH) * was["total"]
                report.add(f"{section} {load}: against history", f"<= {MOST_GROWTH:+.0%}", grown, kept)


def main() -> int:
    counting = Counting()
    every: dict[str, sections.Section] = {
        "nghttpd": counting.nghttpd,
        "inline": counting.inferd("inline", "on"),
        "executor": counting.inferd("executor", "off"),
        "stream": counting.inferd("stream", "on", streaming=True),
        "large": counting.large,
    }
    made = sections.parser("Counts the instructions that a request costs the server.", every)
    made.add_argument("--requests", type=int, default=counting.requests, help=f"counted of each load (default {counting.requests})")
    made.add_argument("--functions", type=int, default=0, help="list so many of each load, the costliest (default 0)")
    made.add_argument("--compare", action="store_true", help="adds no line; ends with 1 when a total grew")
    given = made.parse_args()
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    if missing := missing_programs(["valgrind", "vgdb", "nghttpd", "taskset"]):
        print(f"missing programs: {', '.join(missing)}; `make instructions` installs them", file=sys.stderr)
        return 2
    counting.requests, counting.functions = given.requests, given.functions
    report = Report(1, 0.0)
    sections.run(report, every, given.sections)
    print("\n" + table(report.numbers))
    if not given.compare:
        sections.keep(HISTORY, given, report, PROGRAMS)
        return 0
    before = comparable(HISTORY, versions(PROGRAMS))
    if before is None:
        print(f"\nno line of {HISTORY.name} has these versions of {', '.join(COMPARABLE)}: nothing to compare with")
        return 0
    print(f"\nagainst {before['commit']} of {before['time'][:10]}:")
    against = Report(1, 0.0)
    compare(against, before["results"], report.numbers)
    return 0 if against.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
