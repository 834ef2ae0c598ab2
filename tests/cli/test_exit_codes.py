"""Exit codes: one table for all commands. --help shows a command's own, docs/configuration.md has them all, no other page has a table."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from inferd import cli
from inferd.bench.conclusion import Word
from inferd.bench.modes import Outcome
from inferd.cli.bench import exit_code
from inferd.cli.exit_codes import COMMANDS, MEANINGS, VERDICTS, ExitCode
from inferd.cli.verbs import VERBS, program
from inferd.diff.report import Word as DiffWord
from inferd.errors import ConfigError, InferdError, StartError
from tests.reports import measurement, sample

ROOT = Path(cli.__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "configuration.md"
NESTED = {"bench": ("compare", "report")}  # verbs of their own, which have codes of their own


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading of the page that has the codes."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows, title
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[0].splitlines()[2:]]


def test_every_command_has_its_codes() -> None:
    nested = {f"{verb} {name}" for verb, names in NESTED.items() for name in names}
    assert set(COMMANDS) == set(VERBS) | nested
    for codes in COMMANDS.values():
        assert ExitCode.OK in codes
        assert list(codes) == sorted(codes)
        assert not {ExitCode.USAGE, ExitCode.INTERRUPTED} & set(codes), "they mean the same for all"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_its_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command.split(), "--help"]) == 0
    said = " ".join(click.unstyle(capsys.readouterr().out).split())
    assert all(f"{int(code)} {meaning}" in said for code, meaning in COMMANDS[command].items()), said[-400:]


def test_the_page_has_every_code_of_every_command() -> None:
    assert table("Exit codes") == [[str(int(code)), MEANINGS[code]] for code in ExitCode]
    shown = (ExitCode.OK, ExitCode.FAILED, ExitCode.UNABLE, ExitCode.INCONCLUSIVE)
    assert table("Exit codes of each command") == [
        [f"`{name}`", *(codes.get(code, "") for code in shown)] for name, codes in COMMANDS.items()
    ]


def test_no_other_page_has_a_table_of_codes() -> None:
    pages = [page for page in [*DOCS.rglob("*.md"), ROOT / "README.md"] if page != PAGE]
    assert [page.name for page in pages if re.search(r"^\| *(exit )?code *\|", page.read_text(encoding="utf-8"), re.MULTILINE)] == []


def test_every_verdict_has_its_code() -> None:
    assert set(VERDICTS) == {word.value for word in (*Word, *DiffWord)}
    assert {word for word, code in VERDICTS.items() if code is ExitCode.INCONCLUSIVE} == {"INCONCLUSIVE"}
    assert all(VERDICTS[word] is ExitCode.FAILED for word in ("WORSE", "SLO MISSED", "FAILED"))


def test_every_error_has_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.INTERRUPTED == ExitCode.INTERRUPTED
    for error, code in (
        (InferdError("no"), ExitCode.FAILED),
        (ConfigError("no"), ExitCode.USAGE),
        (click.UsageError("no"), ExitCode.USAGE),
        (StartError("no"), ExitCode.UNABLE),
        (click.Abort(), ExitCode.INTERRUPTED),
    ):

        def reject(*arguments: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(program, "main", reject)
        assert cli.run([]) == code


def test_client_bound_fails_where_that_is_asked_for_whichever_measurement_it_was() -> None:
    """The peak of several loads may be the server's, and what stands beside it the generator's."""
    sound, bound = measurement(slower=0.5), measurement(client_bound=True, client_bound_reason="the generator was busy")
    made = sample(kind="steps", measurements=[bound, sound], headline=1)
    outcome = Outcome("steps", made.measurements, None, "")
    assert exit_code(made, outcome, []) is ExitCode.OK
    assert exit_code(made, outcome, ["client-bound"]) is ExitCode.FAILED


def test_an_inconclusive_run_has_a_code_of_its_own() -> None:
    made = sample(kind="single", measurements=[measurement(rate=2.0)])
    outcome = Outcome("single", made.measurements, None, "")
    assert exit_code(made, outcome, []) is ExitCode.INCONCLUSIVE
    assert exit_code(made, outcome, ["inconclusive"]) is ExitCode.FAILED
