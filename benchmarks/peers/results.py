"""A run as a line of its family's history, and the tables that are made of such a line. Nothing is measured in here.

In each row of a table the best server's figure is bold, with every other that is no more than TIE away from it, and the last column
names them. A figure that some rounds lack is marked and is never the best; a p99 of too few requests is none. In-process ONNX Runtime
and the yardsticks of the transport stand beside and take no part: they serve no model.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import record

from . import models
from .families import ROOT, Family
from .loads import ENOUGH

README = ROOT / "README.md"
BEGIN, END = "<!-- written by benchmarks/peers -->\n", "<!-- end -->\n"
TIE = 0.03
MB = 1e6
NONE = "-"
SOME = "\u2020"  # behind a figure that is of some of the rounds
GLANCE = "64 in flight"  # the load of the one table and of the picture
Line = dict[str, Any]

# Each measure of a load: its field, its words, whether more is better, how many of the field's unit are one of the table's.
MEASURES = (
    ("requests_s", "requests/s", True, 1.0),
    ("p50_us", "p50, ms", False, 1e3),
    ("p99_us", "p99, ms", False, 1e3),
    ("cpu_us", "CPU a request, us", False, 1.0),
)
# Rates that inferd's is held against: inferd's peer, the other one, and how many times as many requests/s are asked.
ASKED = (
    ("inferd-binary", "triton-binary", 5.0),
    ("inferd-json", "triton-json", 5.0),
    ("inferd-json", "fastapi", 10.0),
    ("inferd-json", "granian", 1.0),
    ("inferd-json", "granian-2workers", 1.0),
)
PROTOCOLS = {
    "grpc": "gRPC, Open Inference Protocol",
    "http": "HTTP/1.1, plain bytes",
    "json": "JSON of its own",
    "v2-json": "Open Inference Protocol, JSON",
    "v2-binary": "Open Inference Protocol, binary extension",
    "none": "calls",
    "static": "HTTP/2, GET",
    "echo": "the same JSON, echoed",
}
SIZES = (("memory_bytes", "memory, MB", MB), ("start_s", "start, s", 1.0))


def line(given: Any, peers: list[Any], installed: dict[str, Any], found: Any, seconds: float, load_1m: float) -> Line:
    """All of a run. The peers that are not here are in it with the reason."""
    described = []
    for peer in peers:
        state = installed[peer.name]
        why = getattr(state, "why_not", "")
        one = {"name": peer.name, "title": peer.title, "protocol": peer.protocol, "settings": peer.settings, "competes": peer.competes}
        one |= {"missing": why} if why else {"version": state.version, "install_bytes": state.nbytes}
        described.append(one)
    failures = [{"model": model, "peer": peer, "load": load, "why": why} for (model, peer, load), why in found.failures.items()]
    sizes = [
        {"model": model, "peer": peer, "start_s": round(start_s, 2), "memory_bytes": found.memory.get((model, peer), 0)}
        for (model, peer), start_s in found.starts.items()
    ]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "family": given.family,
        "commit": record.commit(),
        "note": given.note,
        "rounds": given.rounds,
        "seconds": given.seconds,
        "took_s": round(seconds),
        "machine": record.machine(),
        "versions": record.versions({"h2load": "--version", "nghttpd": "--version", "nginx": "-v"}),
        "load_1m": round(load_1m, 2),
        "models": given.models,
        "peers": described,
        "rows": found.rows(),
        "sizes": sizes,
        "failures": failures,
    }


def append(family: Family, line: Line) -> None:
    family.history.parent.mkdir(exist_ok=True)
    with family.history.open("a", encoding="utf-8") as history:
        history.write(json.dumps(line) + "\n")


def newest(family: Family, history: Path | None = None) -> Line:
    """The last run that measured every model, else the last one."""
    history = history or family.history
    lines = [json.loads(text) for text in history.read_text("utf-8").splitlines()] if history.exists() else []
    if not lines:
        raise SystemExit(f"{history.name} holds no run yet: `python benchmarks/peers --family {family.name}` makes one")
    whole = [line for line in lines if set(family.models) <= set(line["models"])]
    found: Line = (whole or lines)[-1]
    return found


def best(values: dict[str, float], more: bool) -> list[str]:
    """Whose value is the best, the best one first, and whose is hardly worse."""
    if not values:
        return []
    ranked = sorted(values, key=lambda name: values[name], reverse=more)
    first = values[ranked[0]]
    limit = first * (1 - TIE) if more else first * (1 + TIE)
    return [name for name in ranked if (values[name] >= limit if more else values[name] <= limit)]


def row(words: str, columns: list[Line], values: dict[str, float], more: bool | None, some: Collection[str] = ()) -> list[str]:
    """A row of a table: its words, a cell a peer, who is best. more: whether more is better; None: nobody is best. some: the peers
    whose figure is of some of the rounds: it is marked, and is not the best."""
    rivals = {one["name"]: values[one["name"]] for one in columns if one["competes"] and one["name"] in values and one["name"] not in some}
    winners = [] if more is None else best(rivals, more)
    cells = []
    for one in columns:
        text = digits(values[one["name"]]) + SOME * (one["name"] in some) if one["name"] in values else NONE
        cells.append(f"**{text}**" if one["name"] in winners else text)
    titles = {one["name"]: one["title"] for one in columns}
    return [words, *cells, ", ".join(titles[name] for name in winners)]


def of_some_rounds(line: Line, model: str, load: str) -> set[str]:
    """The peers that failed in some rounds of a load and not in all. Lines of former runs do not count the rounds, but name failures."""
    failed = {one["peer"] for one in line["failures"] if (one["model"], one["load"]) == (model, load)}
    rows = [found for found in line["rows"] if (found["model"], found["load"]) == (model, load)]
    return {found["peer"] for found in rows if found.get("rounds", line["rounds"]) < line["rounds"] or found["peer"] in failed}


def digits(value: float) -> str:
    """Three that mean something, and thousands apart."""
    if not value:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def rows_of(line: Line, model: str) -> list[list[str]]:
    """The table of one model, its heading first."""
    figures = [found for found in line["rows"] if found["model"] == model]
    sizes = {found["peer"]: found for found in line["sizes"] if found["model"] == model}
    columns = [one for one in line["peers"] if any(found["peer"] == one["name"] for found in figures)]
    rows = [["", *(one["title"] for one in columns), "best"]]
    for load in dict.fromkeys(found["load"] for found in figures):
        of_load = {found["peer"]: found for found in figures if found["load"] == load}
        some = of_some_rounds(line, model, load)
        for name, words, more, scale in MEASURES:
            open_loop = name == "requests_s" and load.endswith("/s")  # asked at one rate, and the rate that came back
            values = {peer: found[name] / scale for peer, found in of_load.items() if name != "p99_us" or found["requests"] >= ENOUGH}
            if values:
                rows.append(row(f"{load}: {words}", columns, values, None if open_loop else more, some))
    for name, words, scale in SIZES:
        rows.append(row(words, columns, {peer: found[name] / scale for peer, found in sizes.items() if found[name]}, False))
    return rows


def markdown(rows: list[list[str]]) -> str:
    head, *rest = rows
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 2) + "|---|"]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rest]) + "\n"


def is_ours(name: str) -> bool:
    """Whether a peer is inferd, in whichever form it is asked."""
    return name.partition("-")[0] == "inferd"


def wins(line: Line) -> tuple[int, int, list[str]]:
    """In how many rows inferd is best or even, of how many, and a line of words for each that others win."""
    ours = {one["title"] for one in line["peers"] if is_ours(one["name"])}
    kept, total, lost = 0, 0, []
    for model in line["models"]:
        titles, *rows = rows_of(line, model)
        for words, *cells, winners in rows:
            if not winners:
                continue
            total += 1
            if ours & set(winners.split(", ")):
                kept += 1
            else:
                own = [cell for title, cell in zip(titles[1:], cells, strict=False) if title in ours and cell != NONE]
                some = any(cell.endswith(SOME) for cell in own)
                why = " (inferd was not measured)" if not own else " (inferd failed in some rounds)" if some else ""
                lost.append(f"{model}, {words}: {winners}{why}")
    return kept, total, lost


def tables(line: Line) -> str:
    """All of a run in Markdown."""
    machine = line["machine"]
    words = [f"{line['time'][:10]}, commit {line['commit']}", f"medians of {line['rounds']} rounds of about {line['seconds']:g} s"]
    words += [f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, shared with the load generator"]
    words += [f"load of the machine at the start {line['load_1m']}"]
    parts = ["; ".join(words) + ".\n"]
    if any(is_ours(found["peer"]) for found in line["rows"]):
        kept, total, lost = wins(line)
        parts.append(
            f"inferd has the best figure, or one within {TIE:.0%} of it, in {kept} of {total} rows." + (" Others win:\n" if lost else "\n")
        )
        parts += ["\n".join(f"- {one}" for one in lost) + "\n"] if lost else []
    if ratios := ratios_table(line):
        parts += ["### inferd's requests/s beside others'\n", ratios]
    if any(found["load"] == GLANCE for found in line["rows"]):
        parts += ["### At a glance\n", summary(line)]
    for model in line["models"]:
        if any(found["model"] == model for found in line["rows"]):
            parts += [f"### {model}\n", f"{models.RECIPES[model].about}.\n", markdown(rows_of(line, model))]
    parts += ["### Installed\n", installed_table(line)]
    if line["failures"]:
        marked = f"A figure with {SOME} is the median of the rounds that did not fail; it wins nothing.\n"
        parts += ["### Not measured\n", marked, failures_table(line)]
    return "\n".join(parts)


def summary(line: Line, load: str = GLANCE) -> str:
    """Requests a second of every model and peer, in one table."""
    rows = []
    columns = [one for one in line["peers"] if one["protocol"] != "static" and any(found["peer"] == one["name"] for found in line["rows"])]
    for model in line["models"]:
        values = {found["peer"]: found["requests_s"] for found in line["rows"] if (found["model"], found["load"]) == (model, load)}
        if values:
            rows.append(row(model, columns, values, True, of_some_rounds(line, model, load)))
    return markdown([[f"requests/s, {load}", *(one["title"] for one in columns), "best"], *rows])


def ratios_table(line: Line) -> str:
    """What inferd's rates are asked to be, and are; empty where the run has none of these pairs."""
    titles = {one["name"]: one["title"] for one in line["peers"]}
    figures = {found["peer"]: found for found in line["rows"] if (found["model"], found["load"]) == ("identity", GLANCE)}
    rows = []
    for own, other, asked in ASKED:
        if own in figures and other in figures:
            times = figures[own]["requests_s"] / figures[other]["requests_s"]
            cpu = " and ".join(digits(figures[name]["cpu_us"]) for name in (own, other))
            cells = f"{titles[own]} beside {titles[other]}", f">= {asked:g} x", f"{digits(times)} x", "yes" if times >= asked else "no", cpu
            rows.append(f"| {' | '.join(cells)} |")
    head = [f"| identity, {GLANCE} | asked | measured | kept | CPU a request, us |", "|---|---:|---:|---|---:|"]
    return "\n".join([*head, *rows]) + "\n" if rows else ""


def picture(path: str) -> str:
    return f"![requests a second of every server on every model, {GLANCE}]({path})\n"


def glance(line: Line) -> str:
    """The README's words about a run: the picture, and where the tables are."""
    kept, total, _ = wins(line)
    words = (
        f"Beside other model servers, in one interleaved run on {line['machine']['cores']} cores that the load generator shares. "
        f"In {kept} of {total} rows of [all tables](docs/benchmarks/peers.md), inferd has the best figure or one within {TIE:.0%} of it. "
        "The tables name the others' wins and settings.\n"
    )
    return "\n".join((words, picture("docs/benchmarks/peers.svg")))


def installed_table(line: Line) -> str:
    here = {one["name"]: one["install_bytes"] / MB for one in line["peers"] if "install_bytes" in one}
    winners = best({one["name"]: here[one["name"]] for one in line["peers"] if one["competes"] and one["name"] in here}, False)
    rows = ["| peer | version | asked over | MB | settings |", "|---|---|---|---:|---|"]
    protocols = PROTOCOLS | ({"static": "GET"} if line.get("family") == "rest" else {})
    for one in line["peers"]:
        if "missing" in one:
            rows.append(f"| {one['title']} | {NONE} | {protocols[one['protocol']]} | {NONE} | not here: {cell(one['missing'])} |")
            continue
        size = f"{here[one['name']]:,.1f}"
        size = f"**{size}**" if one["name"] in winners else size
        rows.append(f"| {one['title']} | {one['version']} | {protocols[one['protocol']]} | {size} | {cell(one['settings'])} |")
    return "\n".join(rows) + "\n"


def failures_table(line: Line) -> str:
    titles = {one["name"]: one["title"] for one in line["peers"]}
    rows = ["| model | peer | load | why |", "|---|---|---|---|"]
    for one in line["failures"]:
        rounds = rounds_without(line, one)
        rows.append(f"| {one['model']} | {titles[one['peer']]} | {one['load'] or 'start'}{rounds} | {cell(one['why'])} |")
    return "\n".join(rows) + "\n"


def rounds_without(line: Line, failure: Line) -> str:
    """In how many rounds it failed, where it was not all."""
    which = ("model", "peer", "load")
    kept = next((one for one in line["rows"] if [one[name] for name in which] == [failure[name] for name in which]), None)
    if kept is None:
        return ""
    return f", {line['rounds'] - kept['rounds']} of {line['rounds']} rounds" if "rounds" in kept else ", some rounds"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def with_tables(page: str, text: str) -> str:
    """The page with what stands between its marks exchanged."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page lacks the marks {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + text + end + after
