"""How many user-space instructions a request costs the server, by group of functions, beside nghttpd's for a static file.

    python benchmarks/instructions.py [--sections nghttpd,inline,executor] [--requests 4096] [--functions 30] [--no-history]
    python benchmarks/instructions.py --sections inline --compare

Instructions repeat within 1 % on a busy machine, where times do not. The server runs under valgrind's callgrind, the clients do not.
Counting begins when the load is steady, and ends after `--requests` responses; slow_clock.c keeps time limits in proportion.
The table is printed, and one line appended to benchmarks/history/instructions.jsonl. With --compare there is no line: the totals are
held against the newest line with the same versions of what is counted, and the program ends with 1 when one of them grew by more than 3 %.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import callgrind
import sections
import servers
import workloads
from callgrind import Function, Profile
from load import Load, missing_programs
from lockstep import Lockstep, Request
from record import Report, versions
from server_cost import Checker, answer_of
from servers import Running

HISTORY = Path(__file__).resolve().parent / "history" / "instructions.jsonl"
PROGRAMS = {"valgrind": "--version", "nghttpd": "--version"}
COUNTED = ("python", "onnxruntime", "uvloop", "nghttpd")  # versions: other ones, other figures
LOADS = (Load(4, 16), Load(64, 1), Load(8, 1))
ASKED = {"4x16": 19_500, "64x1": 22_500, "8x1": 23_500}  # of inline, at most
MOST_GROWTH = 0.03
MOST_OTHER = 0.03  # of the total: more is listed by function
WARM_UP = 1024  # requests before counting
COMMON = {":scheme": "http", ":authority": "127.0.0.1", "user-agent": "lockstep"}
GRPC = {**COMMON, "content-type": "application/grpc", "te": "trailers"}

# Group -> patterns of object file and function. The first group that matches counts. Packages, not modules, wherever that is enough:
# it holds when modules and functions are renamed.
GROUPS: dict[str, tuple[tuple[str, str], ...]] = {
    "nghttp2": (("*/libnghttp2.so*", "*"),),
    "ONNX Runtime": (("*/onnxruntime/*", "*"),),
    "event loop": (("*/uvloop/*", "*"),),
    "clock": (("*/slow_clock.so", "*"), ("*/libc.so*", "clock_gettime*"), ("*/libc.so*", "syscall"), ("*/_core/*", "*monotonic_ns*")),
    "path of a request": (("*/_core/inference/*", "*"),),
    "batcher": (("*/_core/batching/*", "*"),),
    "decode, check, encode, statistics": (("*/_core/codec/*", "*"), ("*/_core/tensor/*", "*"), ("*/_core/metrics/*", "*")),
    "call objects": (("*/_core/grpc/call*", "*"), ("*/_core/http2/stream*", "*")),
    "gRPC framing and messages": (("*/_core/grpc/*", "*"),),
    "headers": (("*/_core/http2/headers*", "*"), ("*/_core/http2/*", "*header*")),
    "send": (("*/_core/http2/send*", "*"), *(("*/_core/http2/*", f"*{word}*") for word in ("Output", "flush", "send", "write"))),
    "scheduling and limits": (
        *(("*/_core/http2/*", f"*{word}*") for word in ("turn", "iteration", "line_up", "has_time", "schedule", "budget", "limit")),
        *(("*/_core/http2/*", f"*{word}*") for word in ("flood", "stall", "keepalive", "low_water", "gather", "acquire", "release")),
        *(("*/_core/http2/*", f"*{word}*") for word in ("memory", "poller", "consume")),
    ),
    "HTTP/2 session": (("*/_core/http2/*", "*"),),
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


def costly(profile: Profile, most: int, group: str | None = None) -> Iterator[str]:
    """The functions that take the most themselves, of one group or of all, one a line."""
    requests, left = responses(profile), most
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


def figures(profile: Profile) -> dict[str, Any]:
    """For the line of history: everything a request."""
    requests = responses(profile)
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
    """One run of this program. requests: that are counted of each load, at least. functions: the costliest that are listed."""

    def __init__(self, requests: int, functions: int) -> None:
        self.requests, self.functions = requests, functions

    def count(self, report: Report, folder: Path, server: Running, load: Load, request: Request) -> None:
        a_round = load.connections * load.streams
        with Lockstep(server.pid, server.address, request, load.connections, load.streams) as client:
            client.run(WARM_UP // a_round)
            with callgrind.counting(server.pid):
                client.run(1)
                callgrind.dumped(server.pid, folder, server.name)
                sent = client.run(-(-self.requests // a_round))
                profile = callgrind.dumped(server.pid, folder, server.name)
        found = figures(profile)
        if found["requests"] != sent:
            raise RuntimeError(f"{sent} requests were sent, and {found['requests']} responses counted")
        report.numbers.setdefault(server.name, {})[str(load)] = found
        most = ASKED.get(str(load)) if server.name == "inline" else None
        asked, kept = (f"<= {most:,}", found["total"] <= most) if most else ("", None)
        report.add(f"{server.name} {load}: instructions a request", asked, f"{found['total']:,}", kept)
        if found["groups"].get(OTHER, 0) > MOST_OTHER * found["total"]:
            print("\n".join(["  functions of no group:", *costly(profile, 10, OTHER)]))
        if self.functions:
            print("\n".join(costly(profile, self.functions)))

    def inferd(self, name: str, inline: str) -> sections.Section:
        def section(report: Report, folder: Path) -> None:
            repository = folder / "repository"
            workload = workloads.identity(repository)
            request = Request({":method": "POST", ":path": workloads.INFER_PATH, **GRPC}, workload.write_body(folder).read_bytes())
            python = (*callgrind.command(folder, name), sys.executable)
            flags = ("--transport", "native", "--inline", inline)
            with servers.inferd(name, [repository], folder, *flags, python=python) as server:
                checker = Checker(server.address, workload, answer_of(repository, workload))
                for load in LOADS:
                    checker.check()
                    self.count(report, folder, server, load, request)
                    checker.check()

        section.__doc__ = f"identity FP32[1,16], --inline {inline}"
        return section

    def nghttpd(self, report: Report, folder: Path) -> None:
        """nghttpd, a static file: the yardstick"""
        with servers.nghttpd(folder, callgrind.command(folder, "nghttpd")) as server:
            for load in LOADS:
                self.count(report, folder, server, load, Request({":method": "GET", ":path": "/file", **COMMON}))


# ---------------------------------------------------------------------------------------------------------------------
# Comparing


def comparable(history: Path, of: Mapping[str, str]) -> dict[str, Any] | None:
    """The newest line whose figures were counted with these versions."""
    lines = [json.loads(text) for text in history.read_text("utf-8").splitlines()] if history.exists() else []
    for line in reversed(lines):
        if all(line["versions"].get(name) == of.get(name) for name in COUNTED):
            found: dict[str, Any] = line
            return found
    return None


def compare(report: Report, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Adds a row for each total that both have. Results are section -> load -> figures."""
    for section, loads in now.items():
        for load, found in loads.items():
            was = before.get(section, {}).get(load)
            if was is not None:
                growth = found["total"] / was["total"] - 1
                grown = f"{growth:+.1%} ({was['total']:,} -> {found['total']:,})"
                report.add(f"{section} {load}: against history", f"<= {MOST_GROWTH:+.0%}", grown, growth <= MOST_GROWTH)


def main() -> int:
    counting = Counting(0, 0)
    every: dict[str, sections.Section] = {
        "nghttpd": counting.nghttpd,
        "inline": counting.inferd("inline", "on"),
        "executor": counting.inferd("executor", "off"),
    }
    made = sections.parser("Counts the instructions that a request costs the server.", every)
    made.add_argument("--requests", type=int, default=4096, help="counted of each load, at least (default 4096)")
    made.add_argument("--functions", type=int, default=0, help="lists so many of each load, the costliest (default 0)")
    made.add_argument("--compare", action="store_true", help="adds no line; ends with 1 when a total grew")
    given = made.parse_args()
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    if missing := missing_programs(["valgrind", "vgdb", "nghttpd"]):
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
        print(f"\nno line of {HISTORY.name} has these versions of {', '.join(COUNTED)}: nothing to compare with")
        return 0
    print(f"\nagainst {before['commit']} of {before['time'][:10]}:")
    against = Report(1, 0.0)
    compare(against, before["results"], report.numbers)
    return 0 if against.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
