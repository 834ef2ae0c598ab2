"""The documentation does what it says: its Python and its example commands run, its links lead somewhere, its flags exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
from command import EXAMPLES, FREE_PORTS, ROOT, TIMEOUT_S, Serving, command, environment

from inferd.config import fields, spell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
EXAMPLE_ADDRESS = "localhost:8001"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, (language, text) in enumerate(FENCED.findall(page.read_text("utf-8"))):
            if language == "python":
                yield f"{name_of(page)}-{number}", text


@cache
def commands() -> list[tuple[str, str]]:
    """(page, line) of every `inferd ...` that a reader may type."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        lines = [line for _, block in FENCED.findall(text) for line in block.splitlines()]
        lines += [line for block in INDENTED.findall(FENCED.sub("", text)) for line in block.splitlines()]
        typed = filter(None, (re.match(r"\s*(?:\$ )?(inferd [a-z]+\b.*)", line) for line in lines))
        found += [(name_of(page), re.split(r"\s+#", match[1])[0].strip()) for match in typed]
    return found


# What is sent -> what the response shows.
SHOWN = {
    "digit.npy": "[7]",
    "seven.png": "1  7 ",
    "seven.wav": "seven",
    "two.ogg": "two",
    "the thread has finished": "1  threads",
    "questions.txt": "topic, row 15",
    "parcels.csv": "1  on time ",
}


def example_requests() -> list[tuple[str, str]]:
    return [(page, line) for page, line in commands() if line.startswith("inferd infer") and any(given in line for given in SHOWN)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Serving(tmp_path_factory.mktemp("docs"), EXAMPLES / "models", EXAMPLES / "raw", *FREE_PORTS) as server:
        yield server.addresses["grpc"]


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in python_blocks()])
def test_python_runs(code, address):
    program = code.replace(EXAMPLE_ADDRESS, address)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "7" in done.stdout, "the example digit is a 7"


@pytest.mark.parametrize(("page", "line"), example_requests())
def test_example_requests_run(page, line, address):
    arguments = shlex.split(line.replace(EXAMPLE_ADDRESS, address))[1:]
    done = subprocess.run(command(*arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert next(shown for given, shown in SHOWN.items() if given in line) in done.stdout


def test_commands_and_their_flags_exist():
    helps = {}
    for page, line in commands():
        verb = line.split()[1]
        if verb not in helps:
            layer = "--help-all" if verb in ("serve", "config", "doctor", "check") else "--help"
            done = subprocess.run(command(verb, layer), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page}: there is no `inferd {verb}`"
            helps[verb] = done.stdout
        for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", line):
            assert re.search(rf"{flag}(?![\w-])", helps[verb]), f"{page}: `inferd {verb}` has no {flag}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for words in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)\b", page.read_text("utf-8"), re.MULTILINE):
        assert set(filter(None, words)) <= targets


def limits() -> str:
    """The table of operations.md."""
    return (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Limits\n")[2].partition("\n## ")[0]


def test_the_table_of_limits_has_the_defaults_of_the_settings():
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in limits().splitlines() if "| `--" in row]
    assert len(rows) > 15
    for _, default, flags, _, _ in rows:
        found = [field for flag in re.findall(r"`(--[a-z-]+)`", flags) for field in fields().values() if field.flag == flag]
        assert len(found) == flags.count("--"), f"{flags} is no flag"
        written = default.replace("%", "").replace(" ", "").split(",")
        assert written == [{"true": "on"}.get(text, text) for text in (spell(field, field.default) for field in found)], flags


def test_the_table_of_limits_has_the_numbers_of_the_constants():
    files = [
        "_core/http2/limits.pxd",
        "_core/http2/flood_policy.pxd",
        "serving/ports.py",
        "_core/codec/wire.pxd",
        "_core/codec/contents.pxd",
        "_core/grpc/message.pxd",
    ]
    files += [
        "log.py",
        "serving/access.py",
        "serving/reflection.py",
        "serving/cold_calls.py",
        "serving/connection.py",
        "serving/native.py",
        "serving/message_threads.py",
        "serving/unpacking.py",
        "observe/scrape.py",
        "_core/tensor/tensor.pyx",
        "_core/http2/memory.pyx",
        "_core/http2/lingering_close.pxd",
        "_core/http2/tls.pxd",
        "_core/codec/infer.pyx",
        "_core/grpc/message.pyx",
        "_core/grpc/call.pyx",
    ]
    source = "".join((ROOT / "inferd" / name).read_text("utf-8") for name in files)
    known = {name: value.replace("_", "") for name, value in re.findall(r"^ *([A-Z_]+) = ([0-9_]+)\b(?! <<)", source, re.MULTILINE)}
    for name, number in re.findall(r"\b([A-Z]+_[A-Z_]+) \(([0-9]+)\)", limits()):
        assert known[name] == number, name
    for name in set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", limits())) - {
        "REFUSED_STREAM",
        "ENHANCE_YOUR_CALM",
        "WINDOW_UPDATE",
        "PROTOCOL_ERROR",
    }:
        assert re.search(rf"^ *{name} = ", source, re.MULTILINE), name


def test_the_table_of_limits_has_metrics_that_are_there():
    known = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    for name in re.findall(r"`(inferd_[a-z_]+)`", limits()):
        assert f"`{name}`" in known, name
