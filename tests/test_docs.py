"""The documentation does what it says: its Python and its example commands run, its links lead somewhere, its flags exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
import yaml

import inferd.cli
from inferd.config import fields, load_settings, spell
from inferd.engine.configuration.model_config import read_model_config
from inferd.errors import ConfigError
from tests.command import EXAMPLES, FREE_PORTS, ROOT, TIMEOUT_S, Serving, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
EXAMPLE_ADDRESS = "localhost:8001"
# Pages that a reader follows from top to bottom, in an empty folder.
WALKS = ("quick-start.md", "tutorial.md", "clients.md", "rest.md", "security.md", "deployment.md")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_blocks() -> Iterator[tuple[str, str]]:
    for page in (*PAGES, ROOT / "clients" / "python" / "README.md"):
        for number, (language, text) in enumerate(FENCED.findall(page.read_text("utf-8"))):
            if language == "python" and page.name not in WALKS:
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
    """Each once, by its first page; those of WALKS are run there."""
    found = {line: page for page, line in reversed(commands()) if line.startswith("inferd infer") and Path(page).name not in WALKS}
    return [(page, line) for line, page in found.items() if any(given in line for given in SHOWN)]


HARD_TO_READ = f"""# What a heading says does not count

Who asks too much is rejected. What is this?

{"long " * 36}end.

```
{"code " * 50}
```

<!-- written by a benchmark -->
| {"x" * 200} |
|---|
<!-- end -->

| {"y" * 121} | `{"z" * 120}` |
|---|---|
"""


def test_the_checker_finds_what_is_hard_to_read(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(HARD_TO_READ)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "check_docs.py", tmp_path / "page.md"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [line.split(": ", 1)[1].split(",")[0] for line in done.stdout.splitlines()] == [
        "a sentence that begins with a bare 'Who'",
        "a sentence of 37 words",
        "a table cell of 121 characters",
    ]


class Walk:
    """A reader who does what a page says: keeps each file that a block names, types each command, and compares what comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "examples").symlink_to(EXAMPLES)
        self._server: Serving | None = None
        self._printed = ""

    def do(self, language: str, text: str) -> None:
        if named := re.match(r"# (\S+\.(?:py|toml))\n", text):
            (self._folder / named[1]).write_text(text)
        elif language == "sh":
            self._printed = "".join(map(self._type, filter(str.strip, re.split(r"^(inferd serve .*)\n", text, flags=re.MULTILINE))))
        elif language == "python":
            self._printed = self._run(sys.executable, "-c", self._here(text))
        elif language == "text":
            assert_shown(text, self._printed)

    def _type(self, commands: str) -> str:
        if commands.startswith("inferd serve "):
            self.__exit__()
            self._server = Serving(self._folder, *shlex.split(commands)[2:], *FREE_PORTS, "--http-port", "0")
            self._server.__enter__()
            return ""
        return self._run("bash", "-ec", f'inferd() {{ {shlex.quote(sys.executable)} -m inferd "$@"; }}\n{self._here(commands)}')

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            arguments,
            cwd=self._folder,
            env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _here(self, text: str) -> str:
        """With the ports of this server in place of the default ones, in files, too."""
        if self._server is None:
            return text
        addresses = self._server.addresses
        ports = {EXAMPLE_ADDRESS: addresses["grpc"], "localhost:8000": addresses["http"], "localhost:8002": addresses["metrics"]}
        for path in self._folder.glob("*.py"):
            path.write_text(replaced(path.read_text(), ports))
        return replaced(text, ports)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._server is not None:
            self._server.stop()


def replaced(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def assert_shown(expected: str, printed: str) -> None:
    """`...` stands for anything, and spaces at the end of a line for nothing."""
    pattern = r"\s*\n".join(re.escape(line.rstrip()).replace(re.escape("..."), ".*") for line in expected.rstrip().splitlines())
    assert re.fullmatch(pattern + r"\s*", printed, re.DOTALL), f"the page shows\n{expected}\nand this came\n{printed}"


@pytest.mark.parametrize("page", WALKS)
def test_a_page_can_be_followed(page, tmp_path: Path) -> None:
    with Walk(tmp_path) as walk:
        for language, text in FENCED.findall((ROOT / "docs" / page).read_text("utf-8")):
            walk.do(language, text)


def test_clients_of_other_languages_are_those_of_the_examples() -> None:
    """tests/examples/test_clients.py runs these."""
    sources = [path.read_text("utf-8") for path in (EXAMPLES / "clients").rglob("*.*")]
    blocks = [
        text for language, text in FENCED.findall((ROOT / "docs" / "clients.md").read_text("utf-8")) if language in ("js", "go", "java")
    ]
    assert len(blocks) == 3
    assert all(any(text in source for source in sources) for text in blocks)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Serving(tmp_path_factory.mktemp("docs"), EXAMPLES / "models", EXAMPLES / "raw", *FREE_PORTS) as server:
        yield server.addresses["grpc"]


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in python_blocks()])
def test_python_runs(code, address) -> None:
    program = code.replace(EXAMPLE_ADDRESS, address)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "7" in done.stdout or "examples/" not in code, "the example digit is a 7"


@pytest.mark.parametrize(("page", "line"), example_requests())
def test_example_requests_run(page, line, address, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(ROOT)
    code = inferd.cli.run(shlex.split(line.replace(EXAMPLE_ADDRESS, address))[1:])
    done = capfd.readouterr()
    assert code == 0, done.err
    assert next(shown for given, shown in SHOWN.items() if given in line) in done.out


def test_commands_and_their_flags_exist(capfd) -> None:
    helps = {}
    for page, line in commands():
        verb = line.split()[1]
        if verb not in helps:
            layer = "--help-all" if verb in ("serve", "config", "doctor", "check") else "--help"
            assert inferd.cli.run([verb, layer]) == 0, f"{page}: there is no `inferd {verb}`"
            helps[verb] = capfd.readouterr().out
        for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", line):
            assert re.search(rf"{flag}(?![\w-])", helps[verb]), f"{page}: `inferd {verb}` has no {flag}"


def slugs(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and MyST make them of its headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", FENCED.sub("", page.read_text("utf-8"))):
        if "://" not in target:
            file = page.parent / target if target else page
            assert file.exists(), f"{name_of(page)} links to {target}, which does not exist"
            assert not anchor or anchor in slugs(file), f"{name_of(page)} links to {target}#{anchor}, and there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_that_needs_more_than_the_suite_has_is_python(page) -> None:
    for language, text in FENCED.findall(page.read_text("utf-8")):
        if language == "py":
            compile(text, name_of(page), "exec")


def reads(language: str, text: str, folder: Path) -> bool:
    """Whether it is a model's configuration or, in TOML, the server's."""
    (folder / f"config.{language}").write_text(text)
    try:
        read_model_config(folder, "m")
    except ConfigError:
        (folder / "inferd.toml").write_text(text)
        return language == "toml" and bool(load_settings({}, {}, folder))
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configurations_can_be_read(page, tmp_path: Path) -> None:
    for number, (language, text) in enumerate(FENCED.findall(page.read_text("utf-8"))):
        if language in ("toml", "pbtxt"):
            (folder := tmp_path / str(number)).mkdir()
            assert reads(language, text, folder), text
        elif language == "yaml":
            assert list(yaml.safe_load_all(text)), text
        elif language == "json":
            json.loads(text)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here; `make test` installs it")
def test_queries_are_promql_over_metrics_that_are_there(tmp_path: Path) -> None:
    known = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    texts = [page.read_text("utf-8") for page in PAGES]
    queries = [query for text in texts for language, query in FENCED.findall(text) if language == "promql"]
    queries += re.findall(r"^\| [^|]+ \| `([^`]*(?:inferd|nv)_[a-z_]+[^`]*[({<=>][^`]*)` \|$", "".join(texts), re.MULTILINE)
    assert len(queries) > 10
    for name in set(re.findall(r"\b(?:inferd|nv)_[a-z_]+", "".join(queries))):
        assert f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in known or f"`{name}`" in known, name
    rules = {"groups": [{"name": "pages", "rules": [{"record": f"page:{n}", "expr": query} for n, query in enumerate(queries)]}]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    subprocess.run(
        ["promtool", "check", "rules", "--lint=none", tmp_path / "rules.json"], check=True, capture_output=True, timeout=TIMEOUT_S
    )


def test_llms_txt_names_each_page_of_the_site() -> None:
    named = set(re.findall(r"\]\(([^)]+)\.html\)", (ROOT / "docs" / "llms.txt").read_text("utf-8")))
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named == pages - {"index"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for words in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)\b", page.read_text("utf-8"), re.MULTILINE):
        assert set(filter(None, words)) <= targets


def table_of(page: str, heading: str) -> list[list[str]]:
    """The cells of each row of the first table below a heading."""
    section = (ROOT / page).read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.split("|")] for row in rows]


def test_the_table_of_tuning_has_the_defaults_of_the_settings() -> None:
    rows = table_of("docs/operations.md", "What you may want to tune")
    assert 10 <= len(rows) <= 15
    known = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    for flag, default, metric, _ in rows:
        (field,) = [field for field in fields().values() if field.flag == flag]
        spelled = spell(field, field.default)
        assert default == {"true": "on"}.get(spelled, spelled), flag
        assert f"`{metric}`" in known, metric


def test_the_table_of_constants_has_those_of_the_source() -> None:
    rows = table_of("ARCHITECTURE.md", "Constants of the transport")
    assert len(rows) > 50
    for name, value, file, _ in rows:
        source = (ROOT / "inferd" / file).read_text("utf-8")
        assert re.search(rf"^ *{name} = {re.escape(value)}(?! *<<)(?:\s|$)", source, re.MULTILINE), f"{name} in {file}"


def test_troubleshooting_quotes_errors_of_the_source() -> None:
    """`...` stands for what an error fills in. Words of TLS, gRPC and the system are in capitals or not ours."""
    source = "".join(path.read_text("utf-8") for pattern in ("inferd/**/*.py", "inferd/**/*.pyx") for path in ROOT.glob(pattern))
    joined = re.sub(r"\"\s*\n\s*f?\"", "", source)
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"^\| [A-Z_ ]*`([^`]+)`", page.partition("## The server does not start")[2], re.MULTILINE)
    assert len(quoted) > 30
    for text in quoted:
        if text not in FOREIGN_ERRORS:
            for part in filter(str.strip, text.split("...")):
                assert part.strip(" ':;,[]") in joined, f"{text!r}: no error says {part!r}"


FOREIGN_ERRORS = {"Connection refused", "certificate verify failed", "certificate required", "too_many_pings"}
