"""The peers' folders, the tables that come of a run, and one run with inferd itself. Nothing is installed here."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet

from inferd.protocol import inference

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from peers import asking, catalogue, cli, families, http1, installs, loads, models, plot, results, running  # noqa: E402
from peers.families import FAMILIES  # noqa: E402

PEERS = catalogue.every()
REST_PEERS = catalogue.every("rest")
ALL = PEERS + REST_PEERS
MEASURED = [family for family in FAMILIES.values() if family.history.exists()]


ECHO = """
import http.server, sys

class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> models.Model:
    return models.ready("identity", tmp_path_factory.mktemp("models"), 2)


# The folders


def test_all_that_was_asked_for_is_there() -> None:
    asked = {
        "inferd",
        "triton",
        "mlserver",
        "kserve",
        "mosec",
        "litserve",
        "bentoml",
        "rayserve",
        "grpcaio",
        "inprocess",
        "nghttpd",
        "nginx",
    }
    assert asked <= {peer.name for peer in PEERS}
    assert PEERS[0].name == "inferd"
    assert {name for pair in results.ASKED for name in pair[:2]} <= {peer.name for peer in REST_PEERS}
    assert all(len({peer.title for peer in peers}) == len(peers) for peers in (PEERS, REST_PEERS))
    assert all(peer.http1 for peer in REST_PEERS)


@pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)
def test_a_folder_is_whole(peer, tmp_path: Path) -> None:
    assert peer.settings
    words = peer.words(python="python", models="m", model="n", folder=tmp_path, port=1, threads=2)
    assert not any(re.search(r"[{}]", word) for word in words)
    named = [Path(word) for word in words if word.startswith(str(peer.folder))]
    assert all(path.is_file() for path in named)
    if peer.requirements is None:
        assert peer.own or peer.program or peer.protocol == "none"
        return
    assert SpecifierSet(peer.python)
    lines, locked = (
        [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        for path in (peer.requirements, peer.constraints)
    )
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.+]+", line) for line in lines + locked)
    assert {re.sub(r"\[.*\]", "", line) for line in lines} <= set(locked)
    assert any(line.partition("==")[0].partition("[")[0] == peer.package for line in lines)


@pytest.mark.parametrize("family", MEASURED, ids=lambda family: family.name)
def test_the_page_is_of_these_peers(family) -> None:
    """After a peer was added, renamed or dropped, its family is measured again."""
    peers, page = catalogue.every(family.name), family.page.read_text("utf-8")
    installed = page.partition("### Installed\n\n")[2]
    rows = [line.strip("| ").split(" | ") for line in re.findall(r"(?m)^\| .* \|$", installed)[1:]]
    described = [row for row in rows if len(row) == 5]  # those that failed stand below, in another table
    assert [row[0] for row in described] == [peer.title for peer in peers]
    missing = [row[0] for row in described if row[4].startswith("not here: ")]
    (head,) = re.findall(rf"(?m)^\| requests/s, {results.GLANCE} \| (.*) \| best \|$", page)
    assert head.split(" | ") == [peer.title for peer in peers if peer.protocol != "static" and peer.title not in missing]


def test_every_peer_runs_the_same_onnx_runtime() -> None:
    pins = {
        line for peer in ALL if peer.requirements for line in peer.requirements.read_text().splitlines() if line.startswith("onnxruntime")
    }
    assert len(pins) == 1


def test_variants_share_the_folder() -> None:
    single, batches = (peer for peer in PEERS if peer.home == "mosec")
    assert (single.name, batches.name) == ("mosec", "mosec-batches")
    assert single.folder == batches.folder
    assert single.env != batches.env


def test_a_variant_is_measured_where_it_differs(identity, tmp_path: Path) -> None:
    both, single = (peer for peer in PEERS if peer.home == "triton")
    assert (both.name, single.name) == ("triton", "triton-1thread")
    assert (both.requirements, both.constraints) == (single.requirements, single.constraints)  # installed once
    slow = {name for name, recipe in models.RECIPES.items() if recipe.threads}
    assert {name for name in models.RECIPES if single.serves(name)} == slow
    assert all(both.serves(name) for name in models.RECIPES)
    own = [running.environment(peer, Path("python"), identity._replace(threads=2), tmp_path, 1, "mark") for peer in (both, single)]
    assert [words["PEER_THREADS"] for words in own] == ["2", "1"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('title = "x"\nprotocol = "grpc"\nsettings = "s"\ncommand = []\ncolour = "red"', "unknown field `colour`"),
        ('title = "x"\nprotocol = "soap"\nsettings = "s"\ncommand = []', "protocol is one of grpc"),
        ('title = "x"\nprotocol = "grpc"\nfamily = "x"\nsettings = "s"\ncommand = []', "family is one of peers, rest, not x"),
        ('title = "x"', "missing required field"),
    ],
)
def test_a_wrong_folder_is_named(tmp_path: Path, text, complaint) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / "peer.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"peers/strange/peer.toml: .*{complaint}"):
        catalogue.read(folder)


# Installing


def test_a_peer_that_cannot_be_here_says_why() -> None:
    peer = catalogue.Peer(name="x", home="x", title="X", protocol="static", settings="s", command=[], program="no-such-program-anywhere")
    assert installs.ready(peer) == installs.Missing("the program no-such-program-anywhere is not installed")
    mlserver = next(peer for peer in PEERS if peer.name == "mlserver")
    impossible = catalogue.made(
        {"name": "x", "home": "x", "title": "X", "protocol": "grpc", "settings": "s", "command": [], "python": "<3.0"}
    )
    missing = installs.install(impossible, Path("unused"), installs.pins(mlserver))
    assert missing == installs.Missing("needs Python <3.0, and none is on the PATH")


def test_the_python_that_measures_comes_first() -> None:
    found = installs.find_python("")
    assert found is not None
    assert installs.works(found)


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "b.pyc").write_bytes(b"x" * 100)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert installs.tree_nbytes(tmp_path) == 100
    assert installs.closure_nbytes("inferd[cpu]") > installs.closure_nbytes("onnxruntime") > installs.closure_nbytes("numpy") > 1 << 20


# Models and requests


@pytest.mark.parametrize("name", ["mlp", "image", "squeezenet"])
def test_models_take_batches(name, tmp_path: Path) -> None:
    import onnxruntime

    model = models.ready(name, tmp_path, 2)
    assert models.ready(name, tmp_path, 2).path == model.path
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    batch = {name: np.repeat(value, 3, axis=0) for name, value in model.inputs.items()}
    answer = session.run([model.output], batch)[0]
    np.testing.assert_allclose(answer[2:3], model.expected, rtol=models.RTOL, atol=models.ATOL)


def test_bodies(identity) -> None:
    framed = asking.framed(identity)
    assert struct.unpack(">BI", framed[:5]) == (0, len(framed) - 5)
    request = inference.ModelInferRequest.FromString(framed[5:])
    assert request.model_name == "identity"
    assert request.raw_input_contents[0] == http1.request("http", identity).body == identity.inputs["x"].tobytes()


@pytest.mark.parametrize("protocol", http1.REQUESTS)
def test_each_form_of_http1_is_answered(identity, tmp_path: Path, protocol) -> None:
    """By inferd where it knows the form, else by a server that gives the request back."""
    own = next((peer for peer in REST_PEERS if peer.home == "inferd" and peer.protocol == protocol), None)
    fields = {"name": "x", "home": "x", "title": "x", "settings": "s", "family": "rest", "protocol": protocol}
    peer = own or catalogue.made(fields | {"command": [sys.executable, "-c", ECHO, "{port}"]})
    with running.start(peer, Path(sys.executable), identity, tmp_path) as server:
        if protocol == "json":  # {"x": ...} is no {"y": ...}
            with pytest.raises(asking.WrongAnswer, match="no json: KeyError"):
                asking.until_right(server, identity, tmp_path)
            return
        question, _ = asking.until_right(server, identity, tmp_path)
        figures = loads.h2load(server, question, 8, 100, tmp_path / "latencies") if shutil.which("h2load") else None
    assert figures is None or figures.requests == 104
    with pytest.raises((LookupError, TypeError, ValueError)):
        http1.output("v2-binary", identity, HTTPMessage(), b"[]")


def test_wrong_answers_are_seen(identity) -> None:
    asking.check(identity.expected.ravel(), identity)
    with pytest.raises(asking.WrongAnswer, match="0 values in y, not 16"):
        asking.check(np.zeros(0, np.float32), identity)
    with pytest.raises(asking.WrongAnswer, match="y is off by 1"):
        asking.check(identity.expected.ravel() + 1, identity)


# Processes


def shell(text: str, identity: models.Model, folder: Path, stack: ExitStack) -> running.Running:
    peer = catalogue.Peer(name="shell", home="inferd", title="shell", protocol="grpc", settings="s", command=["/bin/sh", "-c", text])
    return stack.enter_context(running.start(peer, Path(sys.executable), identity, folder))


def test_all_processes_of_a_peer_are_counted_and_ended(identity, tmp_path: Path) -> None:
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    with ExitStack() as stack:
        # One child, and one that leaves for a session of its own and loses its parent.
        text = f"sleep 600 & (setsid sh -c 'echo > {fifo}; sleep 600; :' &); wait"
        server = shell(text, identity, tmp_path / "work", stack)
        fifo.read_text()
        stopped = running.stop(server)  # so that none of them comes or goes
        members = running.tree(server.pid, server.mark)
        assert len(members) >= 3
        assert {server.pid, *stopped} <= set(members)
        assert running.memory_bytes(server) > 0
        assert set(running.cpu_ns(server)) == set(members)
        running.go_on(stopped)
    assert running.tree(server.pid, server.mark) == []


def test_spent_time_counts_new_processes_whole() -> None:
    assert running.spent_ns({1: 100, 2: 50}, {1: 150, 3: 30}) == 80


def test_a_server_that_ends_is_quoted(identity, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(RuntimeError, match="ended before it answered: no disk"):
        asking.until_right(shell("echo no disk; exit 3", identity, tmp_path, stack), identity, tmp_path)


# Reading the generators


def test_answers_of_another_size_are_no_answers() -> None:
    output = "traffic: 1.52KB (1560) total, 23B (23) headers (space savings 89.19%), 1.17KB (1200) data\n"
    loads.check_nbytes(output, 10, 120)
    with pytest.raises(loads.Unmeasured, match="10 right answers are 1210 bytes, and 1200 came"):
        loads.check_nbytes(output, 10, 121)


def test_a_slow_models_turn_lasts_longer() -> None:
    assert loads.turn_s(500, 1.5) == 1.5
    assert 300 < 50 * loads.turn_s(50, 1.5) < 350
    assert loads.turn_s(25, 1.5) == 3  # never as many as a p99 needs: not for long then
    assert loads.open_loop_s(500, 1.5) == 1.5
    assert loads.open_loop_s(40, 1.5) == loads.turn_s(40, 1.5)
    assert loads.open_loop_s(6, 1.5) == 5
    assert {name for name, rate in cli.RATES.items() if rate * loads.open_loop_s(rate, 1.5) < 300} == {"resnet50"}


REPORT = {
    "requests": 1000,
    "errors": {},
    "requests_per_second": 500.0,
    "latency_us": {"p50": 100.0, "p99": 900.0},
    "client_bound": False,
    "measurements": [{"load": {"warm_up_s": 0.5}, "duration_s": 2.0, "client_bound_reason": ""}],
}
LATE = REPORT | {"client_bound": True, "measurements": [REPORT["measurements"][0] | {"client_bound_reason": "late by 9 us"}]}


def test_an_open_loop_is_read() -> None:
    figures = loads.read_bench(json.dumps(REPORT), 125_000_000)
    assert figures == loads.Figures(1000, 500.0, 100.0, 900.0, 100.0)  # 250 requests of the warm-up share the CPU


@pytest.mark.parametrize(
    ("change", "why"), [({"errors": {"UNAVAILABLE": 3}}, "UNAVAILABLE"), (LATE, "keep the rate, 3 times: late by 9 us")]
)
def test_an_open_loop_that_failed_has_no_figure(change, why) -> None:
    with pytest.raises(loads.Unmeasured, match=why):
        loads.read_bench(json.dumps(REPORT | change), 1)


@pytest.mark.parametrize("late", [0, 2, 3])
def test_an_open_loop_whose_generator_was_late_is_asked_again(monkeypatch: pytest.MonkeyPatch, late) -> None:
    told = iter([LATE] * late + [REPORT])
    monkeypatch.setattr(loads, "open_loop", lambda *_: loads.read_bench(json.dumps(next(told)), 1))
    if late < loads.TRIES:
        assert loads.bench(None, None, None, 500, 1, None).requests == 1000
    else:
        with pytest.raises(loads.GeneratorLate):
            loads.bench(None, None, None, 500, 1, None)


# Tables


def line() -> dict[str, Any]:
    peers = [
        {
            "name": "inferd",
            "title": "inferd",
            "protocol": "grpc",
            "settings": "defaults",
            "competes": True,
            "version": "1",
            "install_bytes": 50_000_000,
        },
        {
            "name": "rival",
            "title": "Rival",
            "protocol": "http",
            "settings": "a|b",
            "competes": True,
            "version": "2",
            "install_bytes": 90_000_000,
        },
        {"name": "loop", "title": "loop", "protocol": "none", "settings": "none", "competes": False, "version": "3", "install_bytes": 1},
        {"name": "gone", "title": "Gone", "protocol": "grpc", "settings": "s", "competes": True, "missing": "does not install: no wheel"},
    ]

    def row(peer: str, load: str, rate: float, p50: float, p99: float, cpu: float) -> dict[str, Any]:
        figures = {"rounds": 3, "requests": 300, "requests_s": rate, "p50_us": p50, "p99_us": p99, "cpu_us": cpu}
        return {"model": "mlp", "peer": peer, "load": load, **figures}

    rows = [row("inferd", "64 in flight", 20000, 900, 3000, 5.1), row("rival", "64 in flight", 19500, 1000, 2000, 40)]
    rows += [row("loop", "64 in flight", 90000, 10, 20, 1), row("inferd", "500/s", 499, 100, 200, 50)]
    sizes = [{"model": "mlp", "peer": name, "start_s": start, "memory_bytes": 1e8} for name, start in (("inferd", 0.4), ("rival", 9.0))]
    machine = {"cpu": "a CPU", "cores": 2, "kernel": "6"}
    made = {
        "time": "2026-01-01T00:00:00Z",
        "commit": "abc",
        "rounds": 3,
        "seconds": 1.5,
        "load_1m": 0.1,
        "machine": machine,
        "models": ["mlp"],
    }
    failures = [{"model": "mlp", "peer": "rival", "load": "", "why": "no\nanswer"}]
    return {**made, "peers": peers, "rows": rows, "sizes": sizes, "failures": failures}


def test_the_best_figure_of_a_row_is_marked() -> None:
    _, *rows = results.rows_of(line(), "mlp")
    by_words = {row[0]: row[1:] for row in rows}
    assert by_words["64 in flight: requests/s"] == [
        "**20,000**",
        "**19,500**",
        "90,000",
        "inferd, Rival",
    ]  # within 3 %; a loop serves nobody
    assert by_words["64 in flight: p99, ms"] == ["3.00", "**2.00**", "0.0200", "Rival"]
    assert by_words["64 in flight: CPU a request, us"] == ["**5.10**", "40.0", "1.00", "inferd"]
    assert by_words["500/s: requests/s"] == ["499", "-", "-", ""]
    assert by_words["500/s: p50, ms"] == ["**0.100**", "-", "-", "inferd"]
    assert by_words["start, s"] == ["**0.400**", "9.00", "-", "inferd"]


def test_a_p99_of_too_few_requests_is_none() -> None:
    few = line()
    few["rows"] = [found | {"requests": 299} if found["peer"] == "rival" or found["load"] == "500/s" else found for found in few["rows"]]
    by_words = {row[0]: row[1:] for row in results.rows_of(few, "mlp")}
    assert by_words["64 in flight: p99, ms"] == ["**3.00**", "-", "0.0200", "inferd"]
    assert by_words["64 in flight: p50, ms"] == ["**0.900**", "1.00", "0.0100", "inferd"]
    assert "500/s: p50, ms" in by_words
    assert "500/s: p99, ms" not in by_words
    assert results.wins(few)[1] == results.wins(line())[1] - 1


@pytest.mark.parametrize("counted", [True, False], ids=["rounds", "a line of a former run"])
def test_a_figure_of_some_rounds_is_marked_and_is_not_the_best(counted) -> None:
    some = line()
    some["failures"].append({"model": "mlp", "peer": "inferd", "load": "64 in flight", "why": "late"})
    some["rows"][0] |= {"rounds": 2}
    if not counted:
        some["rows"] = [{name: value for name, value in found.items() if name != "rounds"} for found in some["rows"]]
    by_words = {row[0]: row[1:] for row in results.rows_of(some, "mlp")}
    assert by_words["64 in flight: requests/s"] == ["20,000\u2020", "**19,500**", "90,000", "Rival"]
    assert by_words["500/s: p50, ms"] == ["**0.100**", "-", "-", "inferd"]
    assert "mlp, 64 in flight: requests/s: Rival (inferd failed in some rounds)" in results.wins(some)[2]
    assert "| mlp | 20,000\u2020 | **19,500** | 90,000 | Rival |" in results.summary(some)
    assert "20,000\u2020" in plot.svg(some)
    text = results.tables(some)
    assert f"| mlp | inferd | 64 in flight, {'1 of 3' if counted else 'some'} rounds | late |" in text
    assert "A figure with \u2020 is the median of the rounds that did not fail" in text


def test_where_others_win_is_said_first() -> None:
    kept, total, lost = results.wins(line())
    assert lost == ["mlp, 64 in flight: p99, ms: Rival"]
    assert total - kept == 1
    text = results.tables(line())
    assert f"in {kept} of {total} rows. Others win:\n\n- mlp, 64 in flight: p99, ms: Rival\n" in text
    assert "| Gone | - | gRPC, Open Inference Protocol | - | not here: does not install: no wheel |" in text
    assert "| Rival | 2 | HTTP/1.1, plain bytes | 90.0 | a\\|b |" in text
    assert "| mlp | Rival | start | no answer |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().splitlines()}) == 1 for table in tables)


def test_a_row_without_a_figure_of_inferds_is_no_peers_win_unsaid() -> None:
    without = line()
    without["rows"] = [row for row in without["rows"] if (row["peer"], row["load"]) != ("inferd", "64 in flight")]
    _, _, lost = results.wins(without)
    assert "mlp, 64 in flight: p99, ms: Rival (inferd was not measured)" in lost


def test_the_readme_tells_where_others_win() -> None:
    kept, total, _ = results.wins(line())
    text = results.glance(line())
    assert f"In {kept} of {total} rows of [all tables](docs/benchmarks/peers.md)" in text
    assert "](docs/benchmarks/peers.svg)" in text


def test_one_table_of_all_models() -> None:
    head, _, mlp = results.summary(line()).strip().splitlines()
    assert head == "| requests/s, 64 in flight | inferd | Rival | loop | best |"
    assert mlp == "| mlp | **20,000** | **19,500** | 90,000 | inferd, Rival |"


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.00394, "0.00394"), (9.999, "10.00"), (41.8, "41.8"), (135972.4, "135,972")])
def test_digits(value, text) -> None:
    assert results.digits(value) == text


def test_only_what_stands_between_the_marks_changes() -> None:
    page = f"before\n{results.BEGIN}old\n{results.END}after\n"
    assert results.with_tables(page, "new\n") == f"before\n{results.BEGIN}new\n{results.END}after\n"
    with pytest.raises(ValueError, match="lacks the marks"):
        results.with_tables("nothing", "new\n")
    assert all(results.with_tables(family.page.read_text("utf-8"), "") for family in FAMILIES.values())


def test_the_newest_whole_run_counts(tmp_path: Path) -> None:
    history = tmp_path / "history"
    whole = {"models": list(models.RECIPES), "note": "whole"}
    history.write_text("\n".join(json.dumps(one) for one in (whole, {"models": ["mlp"], "note": "part"})) + "\n")
    assert results.newest(families.PEERS, history)["note"] == "whole"
    with pytest.raises(SystemExit, match="no run yet"):
        results.newest(families.REST, tmp_path / "none")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_pages_show_the_newest_whole_run(family) -> None:
    page, text = family.page.read_text("utf-8"), ""
    if family in MEASURED:
        text = results.picture(family.plot.name) + "\n" + results.tables(results.newest(family))
    assert page == results.with_tables(page, text), "run: make tables"


def test_the_readme_shows_it_too() -> None:
    readme = results.README.read_text("utf-8")
    assert readme == results.with_tables(readme, results.glance(results.newest(families.PEERS))), "run: make tables"


def test_rates_are_held_against_what_was_asked() -> None:
    pair = [("inferd-json", "inferd (JSON)", 50_000.0), ("fastapi", "FastAPI (JSON)", 4_000.0)]
    peers = [{"name": name, "title": title} for name, title, _ in pair]
    load = {"model": "identity", "load": "64 in flight"}
    rows = [{**load, "peer": name, "requests_s": rate, "cpu_us": 1e6 / rate} for name, _, rate in pair]
    *_, kept = results.ratios_table({"peers": peers, "rows": rows}).strip().splitlines()
    assert kept == "| inferd (JSON) beside FastAPI (JSON) | >= 10 x | 12.5 x | yes | 20.0 and 250 |"
    assert results.ratios_table(line()) == ""


def test_the_picture_is_readable_in_both_schemes() -> None:
    text = plot.svg(line())
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    assert "prefers-color-scheme:dark" in text
    assert "currentColor" in text
    assert plot.INK not in text
    letters = "".join(root.itertext())
    assert "Rival" in letters
    assert "90,000" in letters


# The command


def test_a_peer_that_failed_in_a_round_has_its_turn_in_the_next(identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second turn of a peer fails."""
    given = cli.arguments(["--rounds", "5", "--no-open-loop"])
    contender = cli.Contender(running.Running(PEERS[0], 0, "", 0, 0.0, tmp_path / "log"), asking.Question("", {}, None, 0), tmp_path)
    turns = iter(range(given.rounds))

    def h2load(*_: Any) -> loads.Figures:
        if (turn := next(turns)) % 2:
            raise loads.Unmeasured(f"no luck in turn {turn}")
        return loads.Figures(400, 100.0 + turn, 1.0, 2.0, 3.0)

    monkeypatch.setattr(asking, "ask", lambda *_: 0)
    monkeypatch.setattr(loads, "requests_for", lambda *_: 400)
    monkeypatch.setattr(loads, "h2load", h2load)
    found = cli.Found()
    for _ in range(given.rounds):
        cli.take_turn(contender, identity, loads.Load(in_flight=8), given, found, {})
    (row,) = found.rows()
    assert (row["rounds"], row["requests"], row["requests_s"]) == (3, 400, 102.0)
    assert found.failures == {("identity", "inferd", "8 in flight"): "no luck in turn 1"}


def test_quick_measures_less_and_writes_nothing() -> None:
    quick, whole = cli.arguments(["--quick", "--no-open-loop"]), cli.arguments(["--no-open-loop"])
    assert quick.no_history
    assert not whole.no_history
    assert (quick.rounds, whole.rounds) == (1, 3)
    assert set(quick.models) < set(whole.models) == set(models.RECIPES) == set(cli.RATES)
    assert set(quick.in_flight) < set(whole.in_flight) == {1, 8, 64}
    assert "rayserve" not in cli.arguments(["--without", "rayserve", "--no-open-loop"]).peers


@pytest.mark.parametrize("words", [["--peers", "nobody"], ["--models", "gpt"], ["--in-flight", "5"]])
def test_an_unknown_name_is_a_usage_error(words, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.arguments(words)
    assert ended.value.code == 2
    assert "there are" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load (nghttp2-client) is not installed")
def test_a_run(identity, tmp_path: Path) -> None:
    """inferd and the loop without a server, measured as every peer is."""
    given = cli.arguments(["--peers", "inferd,inprocess", "--in-flight", "1,8", "--rounds", "1", "--seconds", "0.05", "--no-open-loop"])
    here = [(peer, installs.Installed(Path(sys.executable), "1", 1)) for peer in PEERS if peer.name in given.peers]
    found = cli.Found()
    cli.measure_model(identity, here, given, found, tmp_path)
    assert found.failures == {}
    assert {(row["peer"], row["load"]) for row in found.rows()} == {
        (peer, load) for peer in ("inferd", "inprocess") for load in ("1 in flight", "8 in flight")
    }
    assert all(row["requests_s"] > 0 and row["cpu_us"] > 0 and row["p50_us"] <= row["p99_us"] for row in found.rows())
    assert all(found.starts["identity", name] > 0 and found.memory["identity", name] > 1 << 20 for name in given.peers)


# The testers side by side


@pytest.mark.parametrize("name", ["intended", "sent"])
def test_the_gaps_of_what_was_sent_are_judged_as_those_of_what_was_intended(name) -> None:
    """Of an ideal generator, and of one that sends what came due meanwhile in one go."""
    import bench_check
    from record import Report

    rate = 20_000
    ideal = np.cumsum(np.random.default_rng(7).exponential(1e9 / rate, 100_000)).astype(np.int64)
    bunched = np.sort(np.where(np.arange(len(ideal)) % 10 == 0, np.roll(ideal, -1), ideal)[:-1])
    report = Report(1, 1.0)
    good, bad = (bench_check.as_random_as_asked(report, name, times, rate, 7) for times in (ideal, bunched))
    assert good["p"] > 0.01 > bad["p"]
    assert good["d"] < 0.01 < bad["d"]
    assert [row[:2] + row[3:] for row in report.rows] == [
        (f"same: inter-arrivals as {name}, KS test", "p > 0.01", kept) for kept in ("yes", "NO")
    ]
