"""Short tables of single benchmarks, for the README and docs/operations.md. Nothing is measured or judged here.

Each function takes a line of history and returns Markdown. A limit that the run did not keep is always shown.
"""

from __future__ import annotations

from typing import Any

Line = dict[str, Any]

LOADS = {"4x16": "4 connections x 16 streams", "64x1": "64 connections x 1 stream", "8x1": "8 connections x 1 stream"}
SERVERS = {"native": "inferd", "nghttpd": "nghttpd, a static file", "grpcio": "the same methods on grpc.aio"}


def cost(line: Line) -> str:
    """server_cost: CPU a request beside the yardsticks, and the limits that the run missed."""
    tiny = line["results"]["tiny"]
    rows = [f"| server CPU for one request | {' | '.join(SERVERS.values())} |", "|---|" + "---:|" * len(SERVERS)]
    rows += [f"| {words} | {' | '.join(microseconds(tiny[load][name]['cpu_us']) for name in SERVERS)} |" for load, words in LOADS.items()]
    return (
        "\n".join(rows) + f"\n\nMedians of {line['rounds']} rounds {source(line)} {verdicts(line, 'docs/performance.md')}\n{missed(line)}"
    )


def memory(line: Line) -> str:
    """before_after: resident memory, with ONNX Runtime's arenas and with ours."""
    found = line["results"]["memory_mib"]
    rows = [f"| | {' | '.join(found['before'])} |", "|---|" + "---:|" * len(found["before"])]
    for name, words in (("before", "ONNX Runtime's own arenas"), ("after", "arenas that decay")):
        rows.append(f"| {words} | {' | '.join(f'{value:,}' for value in found[name].values())} |")
    return "\n".join(rows) + f"\n\nMeasured {source(line)}\n"


def source(line: Line) -> str:
    return f"on {line['machine']['cores']} cores, {line['time'][:10]}, commit {line['commit']}."


def verdicts(line: Line, page: str) -> str:
    judged = [verdict for *_, verdict in line["table"] if verdict]
    return f"The run kept {judged.count('yes')} of the {len(judged)} limits set before it ([every row]({page}))."


def missed(line: Line) -> str:
    """One line for each limit that was not kept."""
    rows = [
        f"- **Not kept:** {what}: asked {asked}, measured {found}\n" for what, asked, found, verdict in line["table"] if verdict == "NO"
    ]
    return "\n" + "".join(rows) if rows else ""


def microseconds(value: float) -> str:
    return f"{value:.0f} µs" if value >= 100 else f"{value:.1f} µs"
